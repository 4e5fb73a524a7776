import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lfiw import InputError, effective_sample_size, kl_gain


def test_effective_sample_size_of_known_cases() -> None:
    assert effective_sample_size(torch.ones(7)).item() == pytest.approx(7)
    assert effective_sample_size(torch.tensor([0.0, 5.0, 0.0])).item() == pytest.approx(1)
    assert effective_sample_size(torch.tensor([1.0, 1.0, 0.0, 0.0])).item() == pytest.approx(2)


@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1)), st.floats(-200, 200))
def test_effective_sample_size_does_not_depend_on_scale(w: np.ndarray, exponent: float) -> None:
    w = w + 1e-3
    ess = effective_sample_size(torch.from_numpy(w)).item()
    assert 1 - 1e-9 <= ess <= len(w) * (1 + 1e-12)
    assert effective_sample_size(torch.from_numpy(w * 10**exponent)).item() == pytest.approx(ess, rel=1e-9)


@pytest.mark.parametrize(
    ("weights", "message"),
    [([1.0, -1.0], "≥ 0"), ([0.0, 0.0], "all are zero"), ([1.0, math.nan], "NaN"), ([], "non-empty")],
)
def test_bad_weights(weights: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        effective_sample_size(torch.tensor(weights))


def gaussian_log_ratios(rng: np.random.Generator, n: int, m: int, shift: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Exact log-ratios for p = N(shift, 1), q = N(0, 1): log p/q = shift·x − shift²/2."""
    real, generated = rng.normal(shift, 1, n), rng.normal(0, 1, m)
    return torch.from_numpy(shift * real - shift**2 / 2), torch.from_numpy(shift * generated - shift**2 / 2)


def test_kl_gain_of_exact_weights_is_the_whole_divergence_and_its_error_is_honest() -> None:
    rng, shift = np.random.default_rng(0), 0.7
    estimates, errors = [], []
    for _ in range(400):
        estimate, error = kl_gain(*gaussian_log_ratios(rng, 500, 800, shift))
        estimates.append(estimate.item())
        errors.append(error.item())
    spread = np.std(estimates, ddof=1)
    assert np.mean(estimates) == pytest.approx(shift**2 / 2, abs=4 * spread / 20)
    assert np.mean(errors) == pytest.approx(spread, rel=4 / math.sqrt(2 * 400))  # four standard errors of a spread


def test_kl_gain_is_negative_where_the_weights_point_the_wrong_way() -> None:
    real, generated = gaussian_log_ratios(np.random.default_rng(0), 5000, 5000, 0.7)
    estimate, error = kl_gain(-real, -generated)
    assert estimate + 5 * error < 0


def test_kl_gain_does_not_depend_on_the_scale_of_the_ratio() -> None:
    real, generated = gaussian_log_ratios(np.random.default_rng(0), 50, 50, 1.0)
    a, b = kl_gain(real, generated), kl_gain(real + 900, generated + 900)
    assert b[0].item() == pytest.approx(a[0].item(), abs=1e-9)
    assert b[1].item() == pytest.approx(a[1].item(), abs=1e-9)


def test_kl_gain_needs_two_rows_a_side() -> None:
    with pytest.raises(InputError, match="generated side has 1 row"):
        kl_gain(torch.zeros(2), torch.zeros(1))
