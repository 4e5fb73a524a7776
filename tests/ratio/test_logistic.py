"""Logistic ratios: known ratios that each kind can hold, and the prior odds taken out."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from lfiw import RatioEstimator


def fitted(kind: Any, real: np.ndarray, generated: np.ndarray) -> RatioEstimator:
    return RatioEstimator(kind).fit(real, generated)


@pytest.mark.parametrize("kind", ["linear", "quadratic"])
def test_shifted_normals(kind: str) -> None:
    random = np.random.default_rng(0)
    real, generated = random.normal(1, 1, (500, 2)), random.normal(0, 1, (1500, 2))
    ratio = fitted(kind, real, generated)
    exact = generated.sum(1) - 1
    assert np.corrcoef(ratio.log_ratio_, exact)[0, 1] > 0.97
    # γ = 3 left in would be an error of log 3 = 1.1
    assert (ratio.log_ratio_ - exact).mean() == pytest.approx(0, abs=0.3)


def test_normals_of_other_covariances_are_quadratic() -> None:
    random = np.random.default_rng(1)
    covariance = np.array([[1.0, 0.6], [0.6, 1.0]])
    real, generated = random.multivariate_normal([0, 0], covariance, 1500), random.normal(size=(1500, 2)) * 1.2
    exact = multivariate_normal([0, 0], covariance).logpdf(generated) - norm(0, 1.2).logpdf(generated).sum(1)
    exact = exact.clip(-6)  # far out both are rare
    found = {kind: np.corrcoef(fitted(kind, real, generated).log_ratio_.clip(-6), exact)[0, 1] for kind in KINDS}
    assert found["quadratic"] > 0.97
    assert found["kernel"] > 0.85
    assert found["linear"] < 0.5


KINDS = ("linear", "quadratic", "kernel")


def test_two_modes_need_a_kernel() -> None:
    random = np.random.default_rng(2)
    real = random.normal(size=(1500, 1)) * 0.5 + random.choice([-1.5, 0.0, 1.5], (1500, 1), p=[0.45, 0.1, 0.45])
    generated = random.normal(size=(1500, 1)) * real.std()
    found = {kind: fitted(kind, real, generated).scores_["kl_gain"] for kind in KINDS}
    assert found["kernel"] > found["quadratic"] + 0.02


def test_a_list_is_stacked() -> None:
    random = np.random.default_rng(3)
    real, generated = random.normal(1, 1, (400, 2)), random.normal(0, 1, (400, 2))
    ratio = fitted(["linear", "kernel"], real, generated)
    linear = fitted("linear", real, generated)
    assert ratio.scores_["log_loss"] < linear.scores_["log_loss"] + 0.01
    assert ratio.get_params()["classifier"] == ["linear", "kernel"]
