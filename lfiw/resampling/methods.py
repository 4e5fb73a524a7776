"""The samplers by name, with the options that each has."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lfiw.errors import InputError
from lfiw.resampling.gumbel import without_replacement
from lfiw.resampling.metropolis_hastings import BURN_IN, metropolis_hastings
from lfiw.resampling.pools import sir
from lfiw.resampling.rejection import PERCENTILE, rejection
from lfiw.resampling.strata import residual, systematic

POOL = 16
METHODS = ("sir", "systematic", "residual", "without-replacement", "rejection", "mh")
OPTIONS = {"pool": ("sir", "mh"), "burn_in": ("mh",), "start": ("mh",), "percentile": ("rejection",)}


@dataclass(frozen=True)
class Resampled:
    """What a sampler chose.

    Args:
        rows: (num,) row indices.
        candidates: that were looked at; a row that was drawn into several pools or proposed several times counts as
            often.
        acceptance_rate: of rejection and Metropolis–Hastings.
    """

    rows: Int[Tensor, " num"]
    candidates: int
    acceptance_rate: float | None = None


def check_method(method: str, **given: object) -> None:
    """The options that are given (not None) are those of the method.

    Raises:
        InputError: an unknown method, or an option that it does not have.
    """
    if method not in METHODS:
        raise InputError(f"method {method!r}: expected one of {', '.join(METHODS)}")
    for name, value in given.items():
        if value is not None and method not in OPTIONS[name]:
            raise InputError(f"{name.replace('_', '-')} goes with method {' or '.join(OPTIONS[name])}, not {method}")


def resample(
    method: str,
    log_ratio: Float[Tensor, " n"],
    num: int,
    generator: torch.Generator | None = None,
    *,
    pool: int | None = None,
    burn_in: int | None = None,
    start: float | None = None,
    percentile: float | None = None,
) -> Resampled:
    """`num` rows by the sampler of that name; options that are None have their default.

    Args:
        pool: candidates for each sample (sir, mh).
        burn_in: proposals before the first state that counts (mh).
        start: log-ratio of a real sample (mh; needed).
        percentile: of the shift (rejection).

    Raises:
        InputError: an option that the method does not have, or as the sampler itself.
    """
    check_method(method, pool=pool, burn_in=burn_in, start=start, percentile=percentile)
    pool = POOL if pool is None else pool
    if method == "sir":
        return Resampled(sir(log_ratio, num, pool, generator), num * pool)
    if method == "mh":
        if start is None:
            raise InputError("mh starts from a real sample: give its log-ratio")
        burn_in = BURN_IN if burn_in is None else burn_in
        chain = metropolis_hastings(log_ratio, num, pool, generator, start=start, burn_in=burn_in)
        return Resampled(chain.rows, burn_in + num * pool, chain.acceptance_rate)
    if method == "rejection":
        rows = rejection(log_ratio, num, generator, percentile=PERCENTILE if percentile is None else percentile)
        tried = int(rows[-1]) + 1
        return Resampled(rows, tried, num / tried)
    samplers = {"systematic": systematic, "residual": residual, "without-replacement": without_replacement}
    return Resampled(samplers[method](log_ratio, num, generator), log_ratio.numel())
