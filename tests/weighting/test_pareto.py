"""The oracle is arviz-stats' psislw, which negates its input."""

import inspect
import math

import numpy as np
import pytest
import torch
from arviz_stats.base import array_stats

from lfiw import InputError, Weighting, pareto_k
from lfiw.weighting.weights import pareto_k_of_columns, smooth_log_weights

SHAPES = {
    "light": lambda rng, n: rng.normal(size=n),
    "bounded": lambda rng, n: np.log(rng.uniform(size=n)),
    "heavy": lambda rng, n: 1.2 * rng.exponential(size=n),
    "very heavy": lambda rng, n: 3 * rng.standard_t(3, size=n),
    "far": lambda rng, n: 700 + 40 * rng.normal(size=n),
    "ties": lambda rng, n: np.round(rng.normal(size=n), 1),
}


@pytest.mark.parametrize("n", [25, 26, 100, 225, 226, 1000, 20_000])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_arviz_stats(shape: str, n: int) -> None:
    log_ratio = SHAPES[shape](np.random.default_rng(n), n)
    with np.errstate(all="ignore"):
        expected, expected_k = array_stats.psislw(-log_ratio)
    k = pareto_k(torch.from_numpy(log_ratio))
    if not np.isfinite(expected).all():  # a tail of ties: the oracle's weights are nan, ours stay unsmoothed
        assert math.isnan(k)
        return
    assert k == pytest.approx(float(expected_k), abs=1e-6)
    smoothed = Weighting(smooth=True)(torch.from_numpy(log_ratio))
    # among tied rows the oracle hands out the smoothed values in another order
    np.testing.assert_allclose(np.sort(smoothed), np.sort(np.exp(expected)), rtol=1e-6, atol=1e-15)
    if shape != "ties":
        np.testing.assert_allclose(smoothed, np.exp(expected), rtol=1e-6, atol=1e-15)


def test_a_million_values() -> None:
    log_ratio = np.random.default_rng(0).normal(size=1_000_000)
    _, expected_k = array_stats.psislw(-log_ratio)
    assert pareto_k(torch.from_numpy(log_ratio)) == pytest.approx(float(expected_k), abs=1e-6)


@pytest.mark.parametrize("log_ratio", [torch.randn(24), torch.zeros(1000), torch.tensor([0.0] * 500 + [-1.0] * 500)])
def test_too_few_values_or_a_constant_tail_is_nan_and_left_unsmoothed(log_ratio: torch.Tensor) -> None:
    assert math.isnan(pareto_k(log_ratio))
    assert torch.equal(Weighting(smooth=True)(log_ratio), Weighting()(log_ratio))


@pytest.mark.parametrize("n", [20, 25, 226, 5000])
def test_columns_are_what_they_are_alone(n: int) -> None:
    columns = torch.stack(
        [torch.from_numpy(draw(np.random.default_rng(i), n)) for i, draw in enumerate(SHAPES.values())]
    )
    columns = torch.cat([columns, torch.zeros(1, n, dtype=torch.float64)]).T
    k, smoothed = pareto_k_of_columns(columns), smooth_log_weights(columns)
    assert k.shape == (columns.shape[1],)
    for i, column in enumerate(columns.T):
        assert k[i].item() == pytest.approx(pareto_k(column.contiguous()), rel=1e-12, nan_ok=True)
        torch.testing.assert_close(smoothed[:, i], smooth_log_weights(column.contiguous()), rtol=1e-12, atol=1e-12)
    assert math.isnan(k[-1])


def test_k_recovers_a_known_shape() -> None:
    """exp(s·E) with E standard exponential is Pareto with shape s."""
    rng = np.random.default_rng(1)
    ks = [pareto_k(torch.from_numpy(0.8 * rng.exponential(size=20_000))) for _ in range(40)]
    assert np.mean(ks) == pytest.approx(0.8, abs=4 * np.std(ks) / math.sqrt(len(ks)) + 0.02)  # 0.02: the prior's pull


def test_bad_values() -> None:
    with pytest.raises(InputError, match="finite"):
        pareto_k(torch.tensor([0.0, math.nan] * 20))
    with pytest.raises(InputError, match="shape"):
        inspect.unwrap(pareto_k)(torch.zeros(30, 2))
