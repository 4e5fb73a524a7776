"""Effects of a finite effective sample size on a score: coverage of its interval, a control of the same size that
corrects nothing, and the score extrapolated to infinitely many samples.
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
    """Classifies a score's interval: nominal, conservative, few rows or none.

    First-order errors hold if the score is at least 3 times what noise alone gives, and ESS ≥ 10 D, so that the sample
    determines the moments behind the score. Otherwise they are too large: conservative. Below ESS = 2 D there is no
    interval. If a handful of rows makes up the variance, fewer than 30 degrees of freedom, the contribution of similar
    rows outside the sample is missing, and intervals may cover too little: few rows. (FID, 1,000 rows,
    lognormal weights of normal features, 300 repetitions each: 97 % cover at a median of 29, 93 % at 12, 86 % at 7.)

    Args:
        null: the expected score of two such samples of the same distribution.
        effective_size: the smaller effective size of the two sides.
        dimension: D, the number of features.
        degrees_of_freedom: those of the variance (`Contributions.degrees_of_freedom`).
    """
    if effective_size < MIN_ESS_PER_DIMENSION * dimension or degrees_of_freedom != degrees_of_freedom:
        return NONE
    if degrees_of_freedom < MIN_DEGREES_OF_FREEDOM:
        return FEW_ROWS
    return NOMINAL if score >= 3 * null and effective_size >= 10 * dimension else CONSERVATIVE


def permuted(
    weights: Float[Tensor, "n k"], permutations: int, generator: torch.Generator
) -> Float[Tensor, "permutations n k"]:
    """Permutes the rows of the weights at random, all k columns alike: same ESS, same tail, no correction."""
    orders = [torch.randperm(len(weights), generator=generator) for _ in range(permutations)]
    return torch.stack([weights[order] for order in orders])


def control_columns(weights: Float[Tensor, "n k"], permutations: int = 10, seed: int = 0) -> Float[Tensor, "n _"]:
    """Returns the weights in `permutations` random orders of the rows, at least 2.

    A score with a bias at small effective sizes, such as the FID, has the same bias under these weights: the effect of
    the correction is the weights' score minus the mean score of its permutations (`control`).
    """
    n, k = weights.shape
    columns = permuted(weights, permutations, torch.Generator().manual_seed(seed))
    return columns.transpose(0, 1).reshape(n, permutations * k)


def control(scores: Float[Tensor, " _"], permutations: int) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
    """Returns the mean over permutations, and its standard error, from the scores of `control_columns`."""
    by_permutation = scores.view(permutations, -1)
    return by_permutation.mean(0), by_permutation.std(0) / permutations**0.5


def extrapolate(
    score: Callable[[Int64[Tensor, " rows"]], float | Float[Tensor, ""]],
    weights: Float[Tensor, " n"],
    points: int = 15,
    seed: int = 0,
) -> tuple[float, float]:
    """Extrapolates a score to infinitely many generated samples: the intercept of a line in 1/ESS, with its error
    (Chong & Forsyth, CVPR 2020).

    FID and Inception Score are biased by a term that falls as 1/n; with weights the effective size replaces n.
    The line is fitted to the scores of `points` random subsets of n/2 … n rows, evenly spaced in size. They share rows,
    so that the error is only that of the line, without the error of the whole sample.

    Args:
        score: row numbers → score of these rows under their weights.
        weights: those of all rows, non-negative, any scale.
    """
    generator = torch.Generator().manual_seed(seed)
    n = len(weights)
    inverse_sizes, scores = [], []
    for size in np.linspace(n / 2, n, points).round().astype(int):
        rows = torch.randperm(n, generator=generator)[: int(size)]
        inverse_sizes.append(1 / effective_sample_size(weights[rows]).item())
        scores.append(float(score(rows)))
    line = linregress(inverse_sizes, scores)
    return float(line.intercept), float(line.intercept_stderr)
