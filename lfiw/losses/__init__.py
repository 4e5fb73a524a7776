"""Losses whose minimisers are density ratios; one a file."""

from collections.abc import Mapping
from typing import Any

from lfiw.errors import InputError
from lfiw.losses.kliep import Kliep
from lfiw.losses.logistic import Logistic
from lfiw.losses.ratio_loss import RatioLoss
from lfiw.losses.relative import Relative
from lfiw.losses.squared import Squared

LOSSES: dict[str, type[RatioLoss]] = {
    "logistic": Logistic,
    "squared": Squared,
    "kliep": Kliep,
    "relative": Relative,
}


def build_loss(options: Mapping[str, Any]) -> RatioLoss:
    """The loss named by `name`, with its other options.

    Raises:
        InputError: no such loss or option, or a value outside its range.
    """
    others = dict(options)
    name = others.pop("name", None)
    if name not in LOSSES:
        raise InputError(f"loss={name}: expected one of {', '.join(LOSSES)}")
    try:
        return LOSSES[name](**others)
    except TypeError:
        raise InputError(f"loss={name} does not take {', '.join(others)}") from None


__all__ = ["LOSSES", "RatioLoss", "build_loss"]
