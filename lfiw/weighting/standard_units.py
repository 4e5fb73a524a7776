"""Means and spreads of columns, at any scale and offset: what is constant, and what varies too little or too much."""

import torch
from jaxtyping import Float
from torch import Tensor

MOST_NUMBERS = 2**24  # that are copied at a time


def mean_and_spread(x: Float[Tensor, "n d"], rounding: float = 0.0) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
    """Returns mean and standard deviation of each column; the deviation is 0 of one that is constant up to rounding.

    Deviations are taken from the first row, so that a column far from zero keeps its digits, and are scaled by the
    largest of them, so that their squares neither overflow nor vanish. A time in nanoseconds and a length in
    nanometres vary as much as their digits say.

    Args:
        x: float64.
        rounding: a deviation up to this is rounding too; for columns that were computed.
    """
    columns = max(1, MOST_NUMBERS // len(x))
    mean, std = (torch.cat(parts) for parts in zip(*map(_mean_and_deviation, x.split(columns, dim=1)), strict=True))
    smallest = (torch.finfo(x.dtype).eps * mean.abs()).clamp(min=rounding)
    return mean, torch.where(std > smallest, std, 0.0)


def _mean_and_deviation(x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
    shifted = x - x[:1]
    size = shifted.abs().amax(0)
    unit = torch.where(size > 0, size, 1.0)
    mean = shifted.div_(unit).mean(0)
    variance = shifted.sub_(mean).square_().sum(0) / max(1, len(x) - 1)
    return x[0] + unit * mean, unit * variance.sqrt()


def mean_and_scale(x: Float[Tensor, "n d"], rounding: float = 0.0) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
    """As `mean_and_spread`, but 1 of a constant column: what one divides by."""
    mean, spread = mean_and_spread(x, rounding)
    return mean, torch.where(spread > 0, spread, 1.0)
