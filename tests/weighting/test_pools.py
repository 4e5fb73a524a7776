import math
import time

import numpy as np
import pytest
import torch
from weighting.exact import WEIGHTS, check_counts, pool_distribution, pool_distribution_by_laplace

from lfiw import InputError, sir
from lfiw.weighting import resampling as pools

LOG_RATIO = torch.from_numpy(np.log(WEIGHTS))


@pytest.mark.parametrize("pool_size", [1, 2, 5])
def test_draws_follow_the_exact_finite_pool_distribution(pool_size: int) -> None:
    rows = torch.cat([sir(LOG_RATIO, 2000, pool_size, torch.Generator().manual_seed(seed)) for seed in range(40)])
    exact = pool_distribution(WEIGHTS, pool_size)
    check_counts(np.bincount(rows, minlength=4), exact)
    np.testing.assert_allclose(pool_distribution_by_laplace(WEIGHTS, pool_size), exact, rtol=1e-8)


@pytest.mark.parametrize("pool_size", [16, 100])
def test_large_pools(pool_size: int) -> None:
    rows = torch.cat([sir(LOG_RATIO, 2000, pool_size, torch.Generator().manual_seed(seed)) for seed in range(40)])
    check_counts(np.bincount(rows, minlength=4), pool_distribution_by_laplace(WEIGHTS, pool_size))


def test_converges_to_the_weights_as_the_pool_grows() -> None:
    """The bias is that of a ratio of means, of order 1/T: four times the pool, a quarter of the distance."""
    target = WEIGHTS / WEIGHTS.sum()
    rng = np.random.default_rng(0)
    many = rng.lognormal(size=300)
    for weights in (WEIGHTS, many):
        target = weights / weights.sum()
        distances = [
            abs(pool_distribution_by_laplace(weights, pool_size) - target).sum() / 2 for pool_size in (64, 256)
        ]
        assert distances[0] / distances[1] == pytest.approx(4, rel=0.1)
        rows = sir(torch.from_numpy(np.log(weights)), 40_000, 256, torch.Generator().manual_seed(0))
        check_counts(np.bincount(rows, minlength=len(weights)), pool_distribution_by_laplace(weights, 256))


def test_a_pool_larger_than_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "CHUNK", 3)
    rows = sir(LOG_RATIO, 5_000, 5, torch.Generator().manual_seed(0))
    check_counts(np.bincount(rows, minlength=4), pool_distribution(WEIGHTS, 5))


def test_reproducible_across_chunks_and_extreme_ratios() -> None:
    log_ratio = torch.tensor([-1e4, 0.0, 1e4], dtype=torch.float64)
    a = sir(log_ratio, 300_000, 8, torch.Generator().manual_seed(1))
    b = sir(log_ratio, 300_000, 8, torch.Generator().manual_seed(1))
    assert torch.equal(a, b)
    assert a.shape == (300_000,)
    # a pool without the best row has probability (2/3)^8
    assert (a == 2).double().mean().item() == pytest.approx(1 - (2 / 3) ** 8, abs=4 * math.sqrt(0.04 / 300_000))


def test_a_hundred_thousand_draws_from_a_million_in_under_a_second() -> None:
    log_ratio = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0))
    seconds = []
    for seed in range(3):
        start = time.perf_counter()
        sir(log_ratio, 100_000, 16, torch.Generator().manual_seed(seed))
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1


@pytest.mark.parametrize(("num", "pool"), [(0, 1), (1, 0)])
def test_bad_counts(num: int, pool: int) -> None:
    with pytest.raises(InputError, match="at least 1"):
        sir(torch.zeros(3), num, pool)
