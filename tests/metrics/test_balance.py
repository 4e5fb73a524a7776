"""Balance of weighted rows against scipy, scikit-learn, naive loops and simulation."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp, norm
from sklearn.metrics import roc_auc_score

from lfiw.metrics.balance import (
    MOST_FOR_TREES,
    classifier_two_sample_test,
    kolmogorov_smirnov_distances,
    standardised_mean_differences,
    weighted_auc,
)


def rows(seed: int, n: int, d: int, *, steps: bool = False) -> torch.Tensor:
    """Normal numbers; with steps, rounded so that many are equal."""
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * x).round() / 2 if steps else x


def naive_distance(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    return max(abs((x <= t).mean() - w[y <= t].sum() / w.sum()) for t in [*x, *y])


def test_mean_differences_against_numpy() -> None:
    real, generated, weights = rows(0, 70, 4), 2 * rows(1, 90, 4) + 1, rows(2, 90, 1)[:, 0].exp()
    x, y, w = real.numpy(), generated.numpy(), weights.numpy()
    expected = (np.average(y, axis=0, weights=w) - x.mean(0)) / np.sqrt((x.var(0, ddof=1) + y.var(0, ddof=1)) / 2)
    found = standardised_mean_differences(real, generated, weights)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(standardised_mean_differences(1e200 * real, 1e200 * generated, weights), expected)


def test_mean_differences_of_constants() -> None:
    one, two = torch.ones(5, 1), torch.full((5, 1), 2.0)
    assert standardised_mean_differences(one, one).tolist() == [0]
    assert standardised_mean_differences(one, two).tolist() == [math.inf]


@pytest.mark.parametrize("steps", [False, True])
def test_distances_of_uniform_weights_against_scipy(steps: bool) -> None:
    real, generated = rows(0, 70, 3, steps=steps), rows(1, 90, 3, steps=steps) + 0.5
    expected = [ks_2samp(x, y).statistic for x, y in zip(real.T, generated.T, strict=True)]
    np.testing.assert_allclose(kolmogorov_smirnov_distances(real, generated), expected, atol=1e-12)


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=30, deadline=None)
def test_weighted_distances_against_a_loop(seed: int, steps: bool) -> None:
    real, generated = rows(seed, 20, 2, steps=steps), rows(seed + 1, 30, 2, steps=steps)
    weights = rows(seed + 2, 30, 1)[:, 0].clamp(min=0) + 1e-3
    expected = [naive_distance(x.numpy(), y.numpy(), weights.numpy()) for x, y in zip(real.T, generated.T, strict=True)]
    np.testing.assert_allclose(kolmogorov_smirnov_distances(real, generated, weights), expected, atol=1e-12)


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=30, deadline=None)
def test_weighted_auc_against_scikit_learn(seed: int, steps: bool) -> None:
    real, generated = rows(seed, 25, 1, steps=steps)[:, 0] + 0.5, rows(seed + 1, 35, 1, steps=steps)[:, 0]
    weights = rows(seed + 2, 35, 1)[:, 0].exp()
    expected = roc_auc_score(
        np.arange(60) < 25, torch.cat([real, generated]), sample_weight=torch.cat([torch.ones(25), weights])
    )
    assert weighted_auc(real, generated, weights)[0] == pytest.approx(expected, rel=1e-12)


def delong_error(x: np.ndarray, y: np.ndarray) -> float:
    """Standard error by DeLong et al. (1988), from all pairs."""
    wins = (x[:, None] > y) + 0.5 * (x[:, None] == y)
    return math.sqrt(wins.mean(1).var(ddof=1) / len(x) + wins.mean(0).var(ddof=1) / len(y))


@pytest.mark.parametrize("steps", [False, True])
def test_uniform_interval_is_that_of_delong(steps: bool) -> None:
    real, generated = rows(3, 400, 1, steps=steps)[:, 0] + 0.7, rows(4, 500, 1, steps=steps)[:, 0]
    expected = norm.ppf(0.975) * delong_error(real.numpy(), generated.numpy())
    # a t quantile of a few hundred degrees of freedom in place of the normal one
    assert weighted_auc(real, generated)[1] == pytest.approx(expected, rel=0.01)


def test_auc_of_folds_is_their_mean_and_does_not_compare_scores_of_two_classifiers() -> None:
    real, generated = rows(5, 90, 1)[:, 0] + 0.5, rows(6, 60, 1)[:, 0]
    folds = torch.arange(90) % 3, torch.arange(60) % 3
    each = [weighted_auc(real[folds[0] == k], generated[folds[1] == k])[0] for k in range(3)]
    shifted = real + 100.0 * folds[0], generated + 100.0 * folds[1]
    assert weighted_auc(*shifted, None, *folds)[0] == pytest.approx(np.mean(each), rel=1e-12)
    assert weighted_auc(*shifted, None, *folds) == pytest.approx(weighted_auc(real, generated, None, *folds))


def test_weighted_intervals_hold_the_truth() -> None:
    """Weights exp(x/2 − 1/8) turn N(0, 1) into N(½, 1), against N(1, 1): the AUC is Φ(½/√2)."""
    truth, held, repetitions = norm.cdf(0.5 / math.sqrt(2)), 0, 600
    generator = torch.Generator().manual_seed(0)
    for _ in range(repetitions):
        real = torch.randn(150, generator=generator, dtype=torch.float64) + 1
        generated = torch.randn(200, generator=generator, dtype=torch.float64)
        auc, half = weighted_auc(real, generated, (generated / 2).exp(), torch.arange(150) % 3, torch.arange(200) % 3)
        held += abs(auc - truth) <= half
    # binomial standard error 0.009
    assert 0.92 <= held / repetitions <= 0.98


@pytest.mark.parametrize("d", [2, MOST_FOR_TREES + 1])
def test_exact_weights_leave_nothing_to_tell(d: int) -> None:
    shift = 0.5 * (torch.arange(d) < 2).double()
    real, generated = rows(7, 2000, d) + shift, rows(8, 2000, d)
    weights = (generated @ shift - shift.square().sum() / 2).exp()
    before, half = classifier_two_sample_test(real, generated)
    assert 0.6 < before < norm.cdf(0.5) + half  # Φ(½) is the AUC of the exact ratio: |shift|/√2 = ½
    assert half == pytest.approx(0.017 * math.sqrt(2), rel=0.1)
    after, half = classifier_two_sample_test(real, generated, weights)
    assert abs(after - 0.5) < half


@pytest.mark.parametrize("d", [3, MOST_FOR_TREES + 1])
def test_intervals_of_equal_distributions_hold_one_half(d: int) -> None:
    held = 0
    for seed in range(40):
        auc, half = classifier_two_sample_test(rows(100 + seed, 200, d), rows(200 + seed, 200, d), seed=seed)
        held += abs(auc - 0.5) <= half
    assert held >= 34  # of 0.95 · 40 = 38 ± 1.4


def test_folds_without_weight_give_no_auc() -> None:
    weights = torch.zeros(60, dtype=torch.float64)
    weights[0] = 1
    found = classifier_two_sample_test(rows(9, 60, 2), rows(10, 60, 2), weights)
    assert all(map(math.isnan, found))
