"""Samples of a kernel density estimate."""

import numpy as np
import pytest
import torch

from lfiw.data.kernel_density import sample_kernel_density

DATA = torch.randn(300, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) @ torch.tensor(
    [[2.0, 0, 0], [1.0, 0.5, 0], [0.3, 0.2, 0.1]], dtype=torch.float64
)


@pytest.mark.parametrize("bandwidth", [0.1, 0.5, 1.0])
def test_moments(bandwidth: float) -> None:
    """Kernels of h standard deviations of each component: the mean stays, the covariance grows by 1 + h²."""
    n = 100_000
    samples = sample_kernel_density(DATA, n, bandwidth=bandwidth, seed=1).numpy()
    x = DATA.numpy()
    # plus h² times the covariance by which the components are whitened, which scikit-learn takes with ddof = 1
    covariance = np.cov(x, rowvar=False, ddof=0) + bandwidth**2 * np.cov(x, rowvar=False)
    spread = np.sqrt(np.diag(covariance))
    assert (np.abs(samples.mean(0) - x.mean(0)) < 5 * spread / np.sqrt(n)).all()
    error = 5 * np.sqrt(2.5 / n) * np.outer(spread, spread)
    assert (np.abs(np.cov(samples, rowvar=False) - covariance) < error).all()


def test_a_narrow_kernel_gives_the_data_back() -> None:
    samples = sample_kernel_density(DATA, 500, bandwidth=1e-9, seed=0)
    distance = torch.cdist(samples, DATA).min(dim=1).values
    assert distance.max() < 1e-6
    assert len(torch.cdist(samples, DATA).argmin(dim=1).unique()) > 200  # 300·(1 − e^(−5/3)) = 243 expected


def test_directions_without_variance_stay() -> None:
    data = torch.cat([DATA, torch.full((300, 2), 4.0, dtype=torch.float64)], dim=1)
    samples = sample_kernel_density(data, 100, bandwidth=0.5, seed=0)
    torch.testing.assert_close(samples[:, 3:], torch.full((100, 2), 4.0, dtype=torch.float64), rtol=0, atol=1e-9)


def test_a_function_of_the_seed() -> None:
    a, b, c = (sample_kernel_density(DATA, 20, bandwidth=0.2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert a.dtype == torch.float64
    assert sample_kernel_density(DATA.float(), 5, bandwidth=0.2, seed=0).shape == (5, 3)
