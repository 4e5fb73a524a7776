"""Draws without replacement."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lfiw.errors import InputError
from lfiw.resampling.checks import check_candidates
from lfiw.resampling.pools import race


def without_replacement(
    log_ratio: Float[Tensor, " n"], num_samples: int, generator: torch.Generator | None = None
) -> Int[Tensor, " num_samples"]:
    """Distinct rows: each in proportion to its weight among those not drawn yet (Plackett–Luce), by Gumbel top-k.

    The rows with the `num_samples` largest log w + Gumbel noise (Kool et al. 2019). Nothing repeats, so that a set is
    flatter than the weights: all n of n is the generator itself. Close to the weighted distribution where n is many
    times `num_samples`.

    Args:
        log_ratio: of the candidate rows; only differences matter.
        num_samples: number of draws, at most n.
        generator: source of randomness, on the device of `log_ratio`; torch's default one if None.

    Returns:
        Row indices (int64) in the order of drawing.

    Raises:
        InputError: more draws than candidates, a log-ratio is NaN or infinite, there is none, or no draw is asked for.
    """
    log_ratio = check_candidates(log_ratio, num_samples=num_samples)
    if num_samples > log_ratio.numel():
        raise InputError(
            f"num_samples={num_samples:,} without replacement from {log_ratio.numel():,} candidates: ask for fewer, or "
            "generate more"
        )
    return race(log_ratio.clone(), generator).topk(num_samples).indices
