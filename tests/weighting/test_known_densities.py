"""Pools of T fresh candidates, where both densities are known: the exact distribution at each T, and its limit."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from lfiw.tasks.toy import FittedGaussian, Mixture
from lfiw.weighting.streaming import PoolSampler
from tools.studies.resampling import finite_pool_density

DATA = Mixture(means=[[-1.5], [1.5]], scales=[0.7, 0.7], proportions=[0.5, 0.5], valley=0.5)
GRID = np.linspace(-12, 12, 2401)
SEEDS, DRAWS = 20, 1000


def model() -> FittedGaussian:
    return FittedGaussian(DATA.sample(20_000, torch.Generator().manual_seed(0)))


def valley_probability(pool_size: int) -> float:
    points = torch.from_numpy(GRID)[:, None]
    log_model = model().log_density(points)
    log_ratio = (DATA.log_density(points) - log_model).numpy()
    density = finite_pool_density(GRID, log_model.exp().numpy(), log_ratio, pool_size)
    assert np.trapezoid(density, GRID) == pytest.approx(1, abs=1e-5)
    inside = abs(GRID) <= DATA.valley + 1e-9
    return float(np.trapezoid(density[inside], GRID[inside]))


@pytest.mark.parametrize("pool_size", [1, 3, 16])
def test_mass_between_the_modes_over_seeds(pool_size: int) -> None:
    """Independent draws: a share of 20,000 has a binomial error, at most 0.003; the excess of the model is 0.16."""
    exact, generated = valley_probability(pool_size), model()
    shares = []
    for seed in range(SEEDS):
        generator = torch.Generator().manual_seed(seed)
        candidates = generated.sample(DRAWS * pool_size, generator)
        log_ratio = DATA.log_density(candidates) - generated.log_density(candidates)
        kept = PoolSampler(pool_size, generator).step(log_ratio).kept
        shares.append(DATA.in_valley(candidates[kept - 1]).double().mean().item())
    error = math.sqrt(exact * (1 - exact) / (SEEDS * DRAWS))
    assert np.mean(shares) == pytest.approx(exact, abs=4 * error)
    assert np.std(shares, ddof=1) == pytest.approx(error * math.sqrt(SEEDS), rel=0.6)


def test_the_exact_distribution_converges_to_the_data() -> None:
    truth = DATA.valley_probability()
    excess = [valley_probability(pool_size) - truth for pool_size in (1, 4, 16, 64, 256)]
    assert excess[0] > 0.15
    assert all(0 < b < a / 2.5 for a, b in pairwise(excess))
    assert excess[-2] / excess[-1] == pytest.approx(4, rel=0.05)  # of order 1/T
