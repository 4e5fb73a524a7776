"""What every sampler asks of its candidates."""

import torch
from torch import Tensor

from lfiw.errors import InputError
from lfiw.weights import check_log_ratio


def check_candidates(log_ratio: Tensor, **counts: int) -> Tensor:
    """The log-ratios in float64.

    Args:
        counts: numbers that must be at least 1, by the name that a message calls them.

    Raises:
        InputError: a count is not positive; there is no candidate, all weights are zero (every log-ratio is −∞), or a
            log-ratio is NaN or infinite.
    """
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name}={count} must be at least 1")
    if log_ratio.numel() and torch.isneginf(log_ratio).all():
        raise InputError("log_ratio: all weights are zero (every log-ratio is -inf): there is nothing to draw from")
    check_log_ratio(log_ratio)
    return log_ratio.double()
