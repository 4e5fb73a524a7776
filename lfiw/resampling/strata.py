"""All candidates at once, with less variance than independent draws: systematic and residual resampling."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lfiw.resampling.checks import check_candidates

ROUNDING = 1e-9  # an expected count so close below a whole number is that number
BELOW_ONE = 1 - 2.0**-53


def systematic(
    log_ratio: Float[Tensor, " n"], num_samples: int, generator: torch.Generator | None = None
) -> Int[Tensor, " num_samples"]:
    """Systematic resampling (Kitagawa 1996): equally spaced points on the cumulative weights, one random shift.

    Row i is drawn N·w̄ᵢ times in the mean, and never more than one off: ⌊N·w̄ᵢ⌋ or ⌈N·w̄ᵢ⌉ times.

    Args:
        log_ratio: of the candidate rows; only differences matter.
        num_samples: N, number of draws.
        generator: source of randomness, on the device of `log_ratio`; torch's default one if None.

    Returns:
        Row indices (int64), ascending; a row of weight w̄ > 1/N repeats.

    Raises:
        InputError: a log-ratio is NaN or infinite, there is none, or no draw is asked for.
    """
    log_ratio = check_candidates(log_ratio, num_samples=num_samples)
    shift = torch.rand((), generator=generator, dtype=torch.float64, device=log_ratio.device)
    points = torch.arange(num_samples, dtype=torch.float64, device=log_ratio.device).add_(shift).div_(num_samples)
    return rows_at(points, torch.softmax(log_ratio, dim=0))


def residual(
    log_ratio: Float[Tensor, " n"], num_samples: int, generator: torch.Generator | None = None
) -> Int[Tensor, " num_samples"]:
    """Residual resampling (Liu & Chen 1998): ⌊N·w̄ᵢ⌋ copies of row i, the rest independently by what is left.

    Row i is drawn N·w̄ᵢ times in the mean, and never less than ⌊N·w̄ᵢ⌋ times.

    Args:
        log_ratio: of the candidate rows; only differences matter.
        num_samples: N, number of draws.
        generator: source of randomness, on the device of `log_ratio`; torch's default one if None.

    Returns:
        Row indices (int64): the copies, ascending, then the rest.

    Raises:
        InputError: a log-ratio is NaN or infinite, there is none, or no draw is asked for.
    """
    log_ratio = check_candidates(log_ratio, num_samples=num_samples)
    expected = num_samples * torch.softmax(log_ratio, dim=0)
    copies = (expected + ROUNDING).floor()
    certain = torch.repeat_interleave(copies.long())
    left = num_samples - len(certain)
    if not left:
        return certain
    points = torch.rand(left, generator=generator, dtype=torch.float64, device=log_ratio.device)
    return torch.cat([certain, rows_at(points, (expected - copies).clamp(min=0))])


def rows_at(points: Float[Tensor, " m"], weights: Float[Tensor, " n"]) -> Int[Tensor, " m"]:
    """The row in whose part of the cumulative weights, scaled to 1, a point of [0, 1] lies: never one of weight 0."""
    cumulative = weights.cumsum(0)
    return torch.searchsorted(cumulative / cumulative[-1], points.clamp(max=BELOW_ONE), right=True)
