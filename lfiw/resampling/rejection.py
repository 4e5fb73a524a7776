"""Discriminator rejection sampling (Azadi et al., ICLR 2019)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lfiw.errors import InputError
from lfiw.resampling.checks import check_candidates

PERCENTILE = 80.0
LARGEST = 1e-14  # ε of the paper: the log-odds of a candidate at the bound stay finite


def rejection(
    log_ratio: Float[Tensor, " n"],
    num_samples: int,
    generator: torch.Generator | None = None,
    *,
    percentile: float | None = PERCENTILE,
) -> Int[Tensor, " num_samples"]:
    """Each candidate is accepted by itself, in order, with `accept_probability`; M is the largest weight among them.

    Without a shift this is rejection sampling: exact, if no weight that the generator can produce exceeds M. The shift
    accepts more, and flatter: see `accept_probability`.

    Args:
        log_ratio: of the candidate rows; only differences matter.
        num_samples: the first so many that are accepted.
        generator: source of randomness, on the device of `log_ratio`; torch's default one if None.
        percentile: of the candidates' log-odds: the shift γ, so that this share of them (in percent) is accepted with
            less than ½. None: no shift.

    Returns:
        Row indices (int64), ascending, distinct.

    Raises:
        InputError: fewer are accepted than asked for, a log-ratio is NaN or infinite, there is none, no sample is asked
            for, or the percentile is outside 0 … 100.
    """
    log_ratio = check_candidates(log_ratio, num_samples=num_samples)
    log_bound = log_ratio.max().item()
    shift = percentile_shift(log_ratio, log_bound, percentile)
    uniform = torch.rand(log_ratio.shape, generator=generator, dtype=torch.float64, device=log_ratio.device)
    accepted = (uniform < accept_probability(log_ratio, log_bound, shift)).nonzero().squeeze(1)
    if len(accepted) < num_samples:
        raise InputError(
            f"rejection accepted {len(accepted):,} of {log_ratio.numel():,} candidates, {num_samples:,} were asked "
            "for: ask for fewer, generate more, or lower the percentile"
        )
    return accepted[:num_samples]


def accept_probability(log_ratio: Float[Tensor, " n"], log_bound: float, shift: float = 0.0) -> Float[Tensor, " n"]:
    """σ(F), F = log r − log(1 − r) − γ with r = w/M (Azadi et al. 2019, eq. 8).

    At γ = 0 this is r, the probability of rejection sampling; γ < 0 accepts more (and flattens the weights: σ is nearly
    constant for F ≫ 0), γ > 0 less.

    Args:
        log_ratio: log w.
        log_bound: log M, at least the largest log w; a larger log w counts as M.
        shift: γ.
    """
    return torch.sigmoid(log_odds(log_ratio, log_bound) - shift)


def percentile_shift(log_ratio: Float[Tensor, " n"], log_bound: float, percentile: float | None) -> float:
    """γ, the percentile of the candidates' log-odds log r − log(1 − r); 0 without one.

    Raises:
        InputError: the percentile is outside 0 … 100.
    """
    if percentile is None:
        return 0.0
    if not 0 <= percentile <= 100:
        raise InputError(f"percentile={percentile} must lie between 0 and 100")
    odds = log_odds(log_ratio, log_bound).sort().values
    place = percentile / 100 * (len(odds) - 1)  # torch.quantile takes at most 2^24 values
    low = int(place)
    return torch.lerp(odds[low], odds[min(low + 1, len(odds) - 1)], place - low).item()


def log_odds(log_ratio: Float[Tensor, " n"], log_bound: float) -> Float[Tensor, " n"]:
    log_r = (log_ratio.double() - log_bound).clamp(max=-LARGEST)
    return log_r - torch.log(-torch.expm1(log_r))
