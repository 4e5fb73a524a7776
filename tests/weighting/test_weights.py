import inspect
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lfiw import InputError, Weighting, log_ratio_from_logits

finite = arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e4, 1e4))


def test_log_ratio_is_exact_for_two_gaussians_with_unequal_counts() -> None:
    x = torch.linspace(-3, 3, 101, dtype=torch.float64)
    log_p, log_q = -0.5 * (x - 1) ** 2, -0.5 * x**2
    n_real, n_generated = 300, 1200
    # the Bayes classifier under these class sizes
    logits = (log_p + math.log(n_real)) - (log_q + math.log(n_generated))
    log_ratio = log_ratio_from_logits(logits, num_real=n_real, num_generated=n_generated)
    torch.testing.assert_close(log_ratio, log_p - log_q, rtol=0, atol=1e-12)


def test_log_ratio_is_float64_and_gamma_is_one_when_balanced() -> None:
    logits = torch.randn(5)
    log_ratio = log_ratio_from_logits(logits, num_real=7, num_generated=7)
    assert log_ratio.dtype == torch.float64
    assert torch.equal(log_ratio, logits.double())


@pytest.mark.parametrize(("num_real", "num_generated"), [(0, 1), (1, 0), (-1, 1), (math.nan, 1), (math.inf, 1)])
def test_log_ratio_rejects_bad_counts(num_real: float, num_generated: float) -> None:
    with pytest.raises(InputError, match="must both be positive"):
        log_ratio_from_logits(torch.zeros(2), num_real=num_real, num_generated=num_generated)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_log_ratio_rejects_a_bad_logit_and_names_its_row(bad: float) -> None:
    with pytest.raises(InputError, match=r"logits: 1 of 3 values are NaN or infinite, first in row 1"):
        log_ratio_from_logits(torch.tensor([0.0, bad, 1.0]), num_real=1, num_generated=1)


def test_order_flatten_then_clip_then_normalise() -> None:
    w = np.array([0.01, 1.0, 16.0])
    log_ratio = torch.from_numpy(np.log(w))
    expected = np.maximum(w**0.5, 0.5)
    got = Weighting(flatten=0.5, clip=0.5, normalize=False)(log_ratio)
    np.testing.assert_allclose(got, expected, rtol=1e-14)
    got = Weighting(flatten=0.5, clip=0.5)(log_ratio)
    np.testing.assert_allclose(got, expected / expected.sum(), rtol=1e-14)


def test_the_order_of_its_arguments_stays() -> None:
    log_ratio = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(Weighting(1.0, 0.0, False, False)(log_ratio), log_ratio.exp())


def test_flatten_zero_is_uniform() -> None:
    w = Weighting(flatten=0.0)(torch.tensor([-1e308, 0.0, 1e308], dtype=torch.float64))
    np.testing.assert_allclose(w, [1 / 3] * 3, rtol=1e-15)


@given(finite, st.floats(0, 3), st.floats(0, 10))
def test_normalised_weights_sum_to_one_and_stay_finite(log_ratio: np.ndarray, flatten: float, clip: float) -> None:
    w = Weighting(flatten, clip)(torch.from_numpy(log_ratio))
    assert torch.isfinite(w).all()
    assert w.sum().item() == pytest.approx(1, abs=1e-12)


@given(finite, st.floats(-300, 300))
def test_a_constant_added_to_the_log_ratio_changes_nothing(log_ratio: np.ndarray, shift: float) -> None:
    x = torch.from_numpy(log_ratio)
    torch.testing.assert_close(Weighting()(x + shift), Weighting()(x), rtol=1e-9, atol=0)


@pytest.mark.parametrize("extreme", [1e4, 1e300, 1.7e308])
def test_extreme_log_ratios(extreme: float) -> None:
    log_ratio = torch.tensor([-extreme, 0.0, extreme], dtype=torch.float64)
    assert Weighting(flatten=2.0)(log_ratio).tolist() == [0.0, 0.0, 1.0]
    assert Weighting(flatten=2.0, clip=0.1)(log_ratio).tolist() == [0.0, 0.0, 1.0]
    with pytest.raises(InputError, match="overflows"):
        Weighting(normalize=False)(log_ratio)


def test_clip_is_on_the_scale_of_the_ratio_not_of_the_normalised_weight() -> None:
    w = Weighting(clip=1.0)(torch.full((10,), -5.0))
    np.testing.assert_allclose(w, np.full(10, 0.1))
    w = Weighting(clip=1.0, normalize=False)(torch.full((10,), -5.0))
    np.testing.assert_allclose(w, np.ones(10))


@pytest.mark.parametrize("bad", [-0.1, math.nan, math.inf])
@pytest.mark.parametrize("name", ["flatten", "clip"])
def test_bad_parameters(name: str, bad: float) -> None:
    with pytest.raises(InputError, match=name):
        Weighting(**{name: bad})


@pytest.mark.parametrize("bad", [torch.empty(0), torch.zeros(2, 2), torch.tensor([0.0, math.nan])])
def test_bad_log_ratio(bad: torch.Tensor) -> None:
    weighting = Weighting()
    with pytest.raises(InputError, match="log_ratio"):
        inspect.unwrap(type(weighting).log_weights)(weighting, bad)
