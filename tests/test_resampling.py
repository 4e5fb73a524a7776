import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from lfiw import InputError, sir


def exact_sir_distribution(weights: np.ndarray, pool_size: int) -> np.ndarray:
    """P(row) of one draw: the average over all n^T pools of the row's share of the pool's weight."""
    n = len(weights)
    total = np.zeros(n)
    for pool in itertools.product(range(n), repeat=pool_size):
        w = weights[list(pool)]
        np.add.at(total, list(pool), w / w.sum())
    return total / n**pool_size


@pytest.mark.parametrize("pool_size", [1, 2, 5])
def test_draws_follow_the_exact_finite_pool_distribution(pool_size: int) -> None:
    weights = np.array([0.2, 1.0, 3.0, 7.0])
    rows = sir(torch.from_numpy(np.log(weights)), 40_000, pool_size, torch.Generator().manual_seed(0))
    counts = np.bincount(rows, minlength=4)
    assert chisquare(counts, exact_sir_distribution(weights, pool_size) * 40_000).pvalue > 1e-3


def test_converges_to_the_weights_as_the_pool_grows() -> None:
    weights = np.array([0.2, 1.0, 3.0, 7.0])
    rows = sir(torch.from_numpy(np.log(weights)), 20_000, 512, torch.Generator().manual_seed(0))
    share = np.bincount(rows, minlength=4) / 20_000
    np.testing.assert_allclose(share, weights / weights.sum(), atol=0.015)


def test_reproducible_across_chunks_and_extreme_ratios() -> None:
    log_ratio = torch.tensor([-1e4, 0.0, 1e4], dtype=torch.float64)
    a = sir(log_ratio, 300_000, 8, torch.Generator().manual_seed(1))
    b = sir(log_ratio, 300_000, 8, torch.Generator().manual_seed(1))
    assert torch.equal(a, b)
    assert a.shape == (300_000,)
    # a pool without the best row has probability (2/3)^8
    assert (a == 2).double().mean().item() == pytest.approx(1 - (2 / 3) ** 8, abs=4 * math.sqrt(0.04 / 300_000))


@pytest.mark.parametrize(("num", "pool"), [(0, 1), (1, 0)])
def test_bad_counts(num: int, pool: int) -> None:
    with pytest.raises(InputError, match="at least 1"):
        sir(torch.zeros(3), num, pool)
