"""What a finite effective sample size does to a score: how far its interval covers, a control of the same size that
corrects nothing, and the score at infinitely many samples.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.stats import linregress
from torch import Tensor

from lfiw.weighting.diagnostics import MIN_ESS_PER_DIMENSION, effective_sample_size

NOMINAL, CONSERVATIVE, FEW_ROWS, NONE = "nominal", "conservative", "few rows", "none"
MIN_DEGREES_OF_FREEDOM = 30.0


def interval_kind(score: float, null: float, effective_size: float, dimension: int, degrees_of_freedom: float) -> str:
    """Says nominal, conservative, few rows or none.

    First-order errors hold where the score is well above what noise alone gives, at least 3 times that, and a sample
    determines what the score is made of, ESS ≥ 10 D. Otherwise they err on the large side: conservative. Below ESS = 2
    D there is no interval. Where the variance is that of a handful of rows, fewer than 30 degrees of freedom, it lacks
    what rows of that kind outside the sample would add, and intervals may cover too little: few rows. (FID, 1,000 rows,
    lognormal weights of normal features, 300 repetitions each: 97 % cover at a median of 29, 93 % at 12, 86 % at 7.)

    Args:
        null: the score of two such samples of one distribution.
        effective_size: the smaller effective size of the two sides.
        dimension: D, of the features.
        degrees_of_freedom: of the variance (`Contributions.degrees_of_freedom`).
    """
    if effective_size < MIN_ESS_PER_DIMENSION * dimension or degrees_of_freedom != degrees_of_freedom:
        return NONE
    if degrees_of_freedom < MIN_DEGREES_OF_FREEDOM:
        return FEW_ROWS
    return NOMINAL if score >= 3 * null and effective_size >= 10 * dimension else CONSERVATIVE


def permuted(
    weights: Float[Tensor, "n k"], permutations: int, generator: torch.Generator
) -> Float[Tensor, "permutations n k"]:
    """Puts the rows of the weights in random order, all k columns alike: same ESS, same tail, no correction."""
    orders = [torch.randperm(len(weights), generator=generator) for _ in range(permutations)]
    return torch.stack([weights[order] for order in orders])


def control(
    score: Callable[[Float[Tensor, "n j"]], Float[Tensor, " j"]],
    weights: Float[Tensor, "n k"],
    permutations: int = 10,
    seed: int = 0,
) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
    """Returns the mean score over permutations of the weights, and its standard error.

    A score that is biased at a small effective size, as the FID, is biased alike here: the correction that weights make
    is their score minus this one.

    Args:
        score: weights, one column each → one score per column.
        weights: one column per weighting.
        permutations: at least 2.
    """
    columns = permuted(weights, permutations, torch.Generator().manual_seed(seed))
    n, k = weights.shape
    scores = score(columns.transpose(0, 1).reshape(n, permutations * k)).view(permutations, k)
    return scores.mean(0), scores.std(0) / permutations**0.5


def extrapolate(
    score: Callable[[Int64[Tensor, " rows"]], float],
    weights: Float[Tensor, " n"],
    points: int = 15,
    seed: int = 0,
) -> tuple[float, float]:
    """The score at infinitely many generated samples and its standard error: the intercept of a line in 1/ESS
    (Chong & Forsyth, CVPR 2020).

    FID and Inception Score are biased by a term that falls as 1/n; with weights the effective size of the rows takes
    the place of n. The line goes through the scores of `points` random subsets of n/2 … n rows, evenly spaced in size.
    They share rows, so that the error is that of the line alone and leaves out what the whole sample shares.

    Args:
        score: row numbers → score of these rows under their weights.
        weights: of all rows, non-negative, any scale.
    """
    generator = torch.Generator().manual_seed(seed)
    n = len(weights)
    inverse_sizes, scores = [], []
    for size in np.linspace(n / 2, n, points).round().astype(int):
        rows = torch.randperm(n, generator=generator)[: int(size)]
        inverse_sizes.append(1 / effective_sample_size(weights[rows]).item())
        scores.append(score(rows))
    line = linregress(inverse_sizes, scores)
    return float(line.intercept), float(line.intercept_stderr)
