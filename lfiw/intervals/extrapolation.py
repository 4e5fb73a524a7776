"""Scores at infinitely many samples, from how they change with the number of samples (Chong & Forsyth, CVPR 2020)."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.stats import linregress
from torch import Tensor


def extrapolate(
    score: Callable[[Int64[Tensor, " rows"]], float],
    weights: Float[Tensor, " n"],
    points: int = 15,
    seed: int = 0,
) -> tuple[float, float]:
    """The score at infinitely many generated samples and its standard error: the intercept of a line in 1/ESS.

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
        chosen = weights[rows].double()
        inverse_sizes.append((chosen.square().sum() / chosen.sum().square()).item())
        scores.append(score(rows))
    line = linregress(inverse_sizes, scores)
    return float(line.intercept), float(line.intercept_stderr)
