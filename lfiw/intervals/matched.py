"""A control of equal effective sample size: the same weights on other rows correct nothing."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def permuted(
    weights: Float[Tensor, "n k"], permutations: int, generator: torch.Generator
) -> Float[Tensor, "permutations n k"]:
    """The weights with their rows in random order, all k columns alike: same ESS, same tail, no correction."""
    orders = [torch.randperm(len(weights), generator=generator) for _ in range(permutations)]
    return torch.stack([weights[order] for order in orders])


def control(
    score: Callable[[Float[Tensor, "n j"]], Float[Tensor, " j"]],
    weights: Float[Tensor, "n k"],
    permutations: int = 10,
    seed: int = 0,
) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
    """Mean score over permutations of the weights, and its standard error.

    A score that is biased at a small effective size, as the FID, is biased alike here: the correction that weights make
    is their score minus this one.

    Args:
        score: weights, one column each → one score a column.
        weights: one column a weighting.
        permutations: at least 2.
    """
    columns = permuted(weights, permutations, torch.Generator().manual_seed(seed))
    n, k = weights.shape
    scores = score(columns.transpose(0, 1).reshape(n, permutations * k)).view(permutations, k)
    return scores.mean(0), scores.std(0) / permutations**0.5
