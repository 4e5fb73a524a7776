"""Known densities against scipy."""

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch

from lfiw import InputError
from lfiw.tasks.toy import FittedGaussian, Mixture

ONE = Mixture([[-1.5], [1.5]], [0.7, 0.4], [0.5, 0.5], 0.5)
TWO = Mixture([[-1.5, -0.5], [1.5, 0.5]], [0.7, 0.9], [0.6, 0.4], 0.5)
THREE = Mixture([[0.0, 1.0, -1.0], [2.0, -1.0, 0.5]], [1.0, 0.3], [0.9, 0.1], 0.2)
MIXTURES = [ONE, TWO, THREE]


def density(mixture: Mixture, x: np.ndarray) -> np.ndarray:
    return sum(
        share * scipy.stats.multivariate_normal(mean, scale**2 * np.eye(len(mean))).pdf(x)
        for mean, scale, share in zip(mixture.means, mixture.scales, mixture.proportions, strict=True)
    )


@pytest.mark.parametrize("mixture", MIXTURES)
def test_log_density(mixture: Mixture) -> None:
    x = torch.randn(200, mixture.dimension, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    np.testing.assert_allclose(mixture.log_density(x), np.log(density(mixture, x.numpy())).reshape(-1), rtol=1e-11)
    far = torch.full((1, mixture.dimension), 1e4, dtype=torch.float64)
    assert torch.isfinite(mixture.log_density(far)).all()


def test_a_component_without_mass() -> None:
    mixture = Mixture([[0.0], [1.0]], [1.0, 1.0], [1.0, 0.0], 0.5)
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    np.testing.assert_allclose(mixture.log_density(x), scipy.stats.norm.logpdf(x[:, 0]), rtol=1e-12)
    assert mixture.sample(50, torch.Generator().manual_seed(0)).shape == (50, 1)


def test_valley_and_distance_by_quadrature_in_one_dimension() -> None:
    def integral(f, *points):
        return scipy.integrate.quad(lambda x: f(x) * density(ONE, x), -12, 12, points=points, epsabs=1e-11, limit=200)[
            0
        ]

    assert ONE.valley_probability() == pytest.approx(integral(lambda x: abs(x) < 0.5, -0.5, 0.5), abs=1e-9)
    assert ONE.mean_distance() == pytest.approx(integral(abs, 0), abs=1e-9)  # the mean is 0


def test_valley_and_distance_by_quadrature_in_two_dimensions() -> None:
    axis = np.linspace(-9, 9, 1801)  # the trapezoidal rule is exact for smooth densities: error below 1e-9
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
    mass = density(TWO, grid) * 0.01**2
    mean = np.array([0.6 * -1.5 + 0.4 * 1.5, 0.6 * -0.5 + 0.4 * 0.5])
    np.testing.assert_allclose(TWO.mean, mean, rtol=1e-12)
    # the kink of |x − μ| at one point costs about the cell's area times its side
    assert TWO.mean_distance() == pytest.approx((np.linalg.norm(grid - mean, axis=-1) * mass).sum(), abs=1e-6)
    direction = np.array([3.0, 1.0]) / np.sqrt(10)
    # the slab's edges cut cells: (1 cell of 0.01) × density at the edges ≈ 0.1
    assert TWO.valley_probability() == pytest.approx((mass * (np.abs(grid @ direction) < 0.5)).sum(), abs=2e-3)


@pytest.mark.parametrize("mixture", MIXTURES)
def test_samples(mixture: Mixture) -> None:
    n = 200_000
    x = mixture.sample(n, torch.Generator().manual_seed(1))
    assert x.dtype == torch.float64
    means, shares = np.array(mixture.means), np.array(mixture.proportions)
    mean = shares @ means
    covariance = sum(
        p * (s**2 * np.eye(len(m)) + np.outer(m - mean, m - mean))
        for p, s, m in zip(shares, mixture.scales, means, strict=True)
    )
    # five standard errors; fourth moments are below three times those of a Gaussian
    spread = np.sqrt(np.diag(covariance))
    assert (np.abs(x.numpy().mean(0) - mean) < 5 * spread / np.sqrt(n)).all()
    error = 5 * np.sqrt(3 / n) * np.outer(spread, spread)
    assert (np.abs(np.cov(x.numpy(), rowvar=False).reshape(covariance.shape) - covariance) < error).all()
    valley = mixture.valley_probability()
    found = mixture.in_valley(x).double().mean().item()
    assert found == pytest.approx(valley, abs=5 * np.sqrt(valley * (1 - valley) / n))
    distance = mixture.distance(x)
    np.testing.assert_allclose(distance, np.linalg.norm(x.numpy() - mean, axis=1), rtol=1e-10)
    assert distance.mean().item() == pytest.approx(mixture.mean_distance(), abs=5 * distance.std().item() / np.sqrt(n))


def test_samples_are_a_function_of_the_generator() -> None:
    a, b = (TWO.sample(10, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(a, b)


@pytest.mark.parametrize("n", [10, 1000])
def test_fitted_gaussian(n: int) -> None:
    x = TWO.sample(n, torch.Generator().manual_seed(0))
    fitted = FittedGaussian(x)
    mean, covariance = x.numpy().mean(0), np.cov(x.numpy(), rowvar=False, ddof=0)
    np.testing.assert_allclose(fitted.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(fitted.scale @ fitted.scale.T, covariance, rtol=1e-10)
    points = torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = scipy.stats.multivariate_normal(mean, covariance).logpdf(points.numpy())
    np.testing.assert_allclose(fitted.log_density(points), expected, rtol=1e-9)
    many = fitted.sample(200_000, torch.Generator().manual_seed(2)).numpy()
    spread = np.sqrt(np.diag(covariance))
    assert (np.abs(many.mean(0) - mean) < 5 * spread / np.sqrt(200_000)).all()
    assert (np.abs(np.cov(many, rowvar=False) - covariance) < 5 * np.sqrt(2 / 200_000) * np.outer(spread, spread)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"means": [[0.0]]}, "two means of one length"),
        ({"means": [[0.0], [1.0, 2.0]]}, "two means of one length"),
        ({"scales": [1.0]}, "two scales"),
        ({"proportions": [0.2, 0.3, 0.5]}, "two proportions"),
        ({"proportions": [0.5, 0.6]}, "sum to 1"),
        ({"means": [[1.0], [1.0]]}, "the two means must differ"),
    ],
)
def test_bad_mixtures(options: dict, message: str) -> None:
    good = {"means": [[0.0], [1.0]], "scales": [1.0, 1.0], "proportions": [0.5, 0.5], "valley": 0.5}
    with pytest.raises(InputError, match=message):
        Mixture(**{**good, **options})
