"""Sampling-importance-resampling: a pool of its own for each draw."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lfiw.resampling.checks import check_candidates

CHUNK = 1 << 18  # pool entries held at once: 2 MiB an array, which stays in the processor's cache


def sir(
    log_ratio: Float[Tensor, " n"],
    num_samples: int,
    pool_size: int,
    generator: torch.Generator | None = None,
) -> Int[Tensor, " num_samples"]:
    """Sampling-importance-resampling (Rubin 1987; Grover et al. 2019, algorithm 1).

    For each draw a pool of `pool_size` rows, uniform with replacement, and one row of it in proportion to its weight
    exp(log_ratio). Exact as the pool grows; a pool of 1 is the generator itself.

    Args:
        log_ratio: of the candidate rows; only differences matter.
        num_samples: number of draws.
        pool_size: candidates a draw.
        generator: source of randomness, on the device of `log_ratio`; torch's default one if None.

    Returns:
        Row indices (int64), independent draws, repeats possible.

    Raises:
        InputError: a log-ratio is NaN or infinite, there is none, or a count is not positive.
    """
    log_ratio = check_candidates(log_ratio, num_samples=num_samples, pool_size=pool_size)
    chosen = torch.empty(num_samples, dtype=torch.int64, device=log_ratio.device)
    draws, candidates = max(1, CHUNK // pool_size), min(CHUNK, pool_size)
    for start in range(0, num_samples, draws):
        part = chosen[start : start + draws]
        best = torch.full((len(part),), -torch.inf, dtype=torch.float64, device=log_ratio.device)
        for first in range(0, pool_size, candidates):
            shape = (len(part), min(candidates, pool_size - first))
            pool = torch.randint(log_ratio.numel(), shape, generator=generator, device=log_ratio.device)
            key, winner = race(log_ratio[pool], generator).max(dim=1)
            torch.where(key > best, pool.gather(1, winner[:, None]).squeeze(1), part, out=part)
            torch.maximum(key, best, out=best)
    return chosen


def race(log_weights: Float[Tensor, "..."], generator: torch.Generator | None) -> Float[Tensor, "..."]:
    """log w + Gumbel noise, in place: the largest of a set is a draw in proportion to w, whatever the scale of w.

    Gumbel-max (Yellott 1977); the k largest in order are k draws without replacement.
    """
    # −log of an Exponential(1) variable is a Gumbel variable
    return log_weights.sub_(torch.empty_like(log_weights).exponential_(generator=generator).log_())
