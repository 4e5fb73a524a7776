"""Calibrators against scipy, scikit-learn and torchmetrics."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torchmetrics.functional.classification import binary_calibration_error

from lfiw.errors import InputError
from lfiw.schemas import CALIBRATIONS
from lfiw.weighting.calibration import (
    Isotonic,
    calibrator_from_state,
    fit_calibrator,
    fit_calibrators,
    reliability,
)
from lfiw.weighting.diagnostics import balanced_log_loss

FITTED = [name for name in CALIBRATIONS if name != "none"]


def rows(n: int = 900, m: int = 300, shift: float = 1.2) -> tuple[Tensor, Tensor]:
    """Exact log-ratios of N(shift, 1) against N(0, 1)."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, dtype=torch.float64, generator=g) + shift, torch.randn(m, dtype=torch.float64, generator=g)
    return shift * x[0] - shift**2 / 2, shift * x[1] - shift**2 / 2


def loss_of(map: Callable[[np.ndarray], np.ndarray], real: Tensor, generated: Tensor) -> float:
    a, b = map(real.numpy()), map(generated.numpy())
    return (np.logaddexp(0, -a).mean() + np.logaddexp(0, b).mean()) / 2


def test_temperature_is_a_logistic_regression_without_intercept() -> None:
    real, generated = rows()
    # over-confident by a factor of 3, whatever the numbers of rows
    fitted = fit_calibrator("temperature", 3 * real, 3 * generated).state()["inverse"]
    oracle = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000)
    weight = np.concatenate([np.full(len(real), 1 / len(real)), np.full(len(generated), 1 / len(generated))])
    labels = np.concatenate([np.ones(len(real)), np.zeros(len(generated))])
    oracle.fit(torch.cat([3 * real, 3 * generated])[:, None].numpy(), labels, sample_weight=weight)
    assert fitted == pytest.approx(oracle.coef_[0, 0], rel=1e-5)
    assert fitted == pytest.approx(1 / 3, rel=0.15)


def test_beta_is_the_optimum() -> None:
    real, generated = rows()
    fitted = fit_calibrator("beta", 2 * real + 0.5, 2 * generated + 0.5)

    def loss(parameters: np.ndarray) -> float:
        a, b, c = parameters
        return loss_of(
            lambda x: c - a * np.logaddexp(0, -x) + b * np.logaddexp(0, x), 2 * real + 0.5, 2 * generated + 0.5
        )

    oracle = minimize(
        loss, [0.5, 0.5, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 4000}
    )
    state = fitted.state()
    assert [state[name] for name in "abc"] == pytest.approx(oracle.x.tolist(), abs=1e-3)
    assert loss(np.array([state[name] for name in "abc"])) <= oracle.fun + 1e-10


def test_beta_keeps_its_slopes_positive() -> None:
    real, generated = rows()
    state = fit_calibrator("beta", -real, -generated).state()
    assert (state["a"], state["b"]) == (0, 0)


def test_isotonic_is_scikit_learns() -> None:
    real, generated = rows()
    fitted = fit_calibrator("isotonic", real, generated)
    oracle = IsotonicRegression()
    weight = np.concatenate([np.full(len(real), 0.5 / len(real)), np.full(len(generated), 0.5 / len(generated))])
    values = torch.cat([real, generated])
    expected = oracle.fit_transform(values.numpy(), np.arange(len(values)) < len(real), sample_weight=weight)
    bound = 1 / (2 * len(generated))
    found = torch.sigmoid(fitted(values)).numpy()
    np.testing.assert_allclose(found, expected.clip(bound, 1 - bound), rtol=1e-9)
    ordered = fitted(torch.linspace(-50, 50, 1000, dtype=torch.float64))
    assert torch.isfinite(ordered).all()
    assert (ordered.diff() >= 0).all()


@pytest.mark.parametrize("name", FITTED)
def test_it_lowers_the_log_loss_of_other_rows(name: str) -> None:
    real, generated = (3 * values for values in rows(4000, 2000))
    fitted = fit_calibrator(name, real[0::2], generated[0::2])
    before = balanced_log_loss(real[1::2], generated[1::2])
    after = balanced_log_loss(fitted(real[1::2]), fitted(generated[1::2]))
    exact = balanced_log_loss(real[1::2] / 3, generated[1::2] / 3)
    assert after < before
    assert after - exact < 0.1 * (before - exact)


@pytest.mark.parametrize("name", FITTED)
def test_prior_odds_of_the_rows_do_not_matter(name: str) -> None:
    real, generated = rows(3000, 3000)
    balanced, few = fit_calibrator(name, real, generated), fit_calibrator(name, real, generated[:300])
    x = torch.linspace(-1.5, 1.5, 7, dtype=torch.float64)
    assert (balanced(x) - few(x)).abs().max() < 0.7
    # it was exact before
    assert (balanced(x) - x).abs().max() < 0.5


@pytest.mark.parametrize("name", FITTED)
def test_the_state_goes_round(name: str) -> None:
    real, generated = rows(60, 50)
    fitted = fit_calibrator(name, real, generated)
    assert calibrator_from_state(json.loads(json.dumps(fitted.state()))) == fitted


@pytest.mark.parametrize("separated", [(1.0, -1.0), (-1.0, 1.0), (0.0, 0.0)])
@pytest.mark.parametrize("name", FITTED)
def test_rows_that_are_separated_or_all_equal(name: str, separated: tuple[float, float]) -> None:
    real, generated = (torch.full((40,), value, dtype=torch.float64) for value in separated)
    assert torch.isfinite(fit_calibrator(name, real, generated)(torch.tensor([-30.0, 0.0, 30.0]))).all()


@pytest.mark.parametrize(
    ("name", "real", "message"),
    [("none", [1.0, 2.0], "expected one of"), ("beta", [1.0], "at least 2"), ("beta", [1.0, torch.nan], "NaN")],
)
def test_errors(name: str, real: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_calibrator(name, torch.tensor(real), torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize(
    "state",
    [{}, {"name": "beta"}, {"name": "other", "a": 1}, {"name": "temperature", "inverse": "x"},
     {"name": "isotonic", "knots": [1, 0], "values": [0, 1]}, {"name": "isotonic", "knots": [1], "values": []},
     {"name": "isotonic", "knots": [], "values": []}, {"name": "temperature", "inverse": 1, "more": 2},
     {"name": "isotonic", "knots": [0, 1], "values": [1, 0]}, {"name": "isotonic", "knots": [0], "values": [torch.nan]},
     {"name": "temperature", "inverse": torch.nan}, {"name": "temperature", "inverse": -1},
     {"name": "beta", "a": 1, "b": torch.inf, "c": 0}],
)  # fmt: skip
def test_what_is_not_a_state(state: dict) -> None:
    with pytest.raises(InputError, match="not the state of a calibrator"):
        calibrator_from_state(state)


def test_reliability_is_torchmetrics() -> None:
    real, generated = (2 * values for values in rows())
    log_ratio = torch.cat([real, generated])
    is_real = torch.arange(len(log_ratio)) < len(real)
    found = reliability(log_ratio, is_real, bins=10)
    probability = torch.sigmoid(log_ratio + np.log(len(real) / len(generated)))
    for norm, error in (("l1", found.expected_error), ("max", found.maximum_error)):
        expected = binary_calibration_error(probability, is_real.long(), n_bins=10, norm=norm).item()
        assert error == pytest.approx(expected, abs=1e-6)
    assert found.count.sum() == len(log_ratio)


def test_reliability_of_certain_rows() -> None:
    found = reliability(torch.tensor([800.0, -800.0]), torch.tensor([True, False]))
    assert (found.expected_error, found.maximum_error) == (0, 0)
    with pytest.raises(InputError, match="both sides"):
        reliability(torch.tensor([1.0]), torch.tensor([True]))


def test_isotonic_outside_its_knots_is_constant() -> None:
    assert Isotonic((0.0, 1.0), (-2.0, 2.0))(torch.tensor([-9.0, 0.5, 9.0])).tolist() == [-2.0, 0.0, 2.0]


@pytest.mark.parametrize("name", ["temperature", "beta", "isotonic"])
def test_a_weight_of_three_is_three_copies(name: str) -> None:
    random = torch.Generator().manual_seed(0)
    sides = (1.5 * torch.randn(80, generator=random) + 0.8, 1.5 * torch.randn(60, generator=random) - 0.8)
    counts = tuple(torch.randint(1, 4, (len(side),), generator=random) for side in sides)
    copies = fit_calibrator(name, *(side.repeat_interleave(n) for side, n in zip(sides, counts, strict=True)))
    # the scale of a side's weights is irrelevant
    weighted = fit_calibrator(name, *sides, (counts[0] * 10.0, counts[1] * 0.1))
    inner = torch.linspace(-2, 2, 50, dtype=torch.float64)  # isotonic clips at half a row, of which copies are more
    torch.testing.assert_close(weighted(inner), copies(inner), rtol=1e-5, atol=1e-5)


def test_rows_that_fit_and_rows_that_judge() -> None:
    random = torch.Generator().manual_seed(0)
    real, generated = torch.randn(50, generator=random) + 1, torch.randn(41, generator=random)
    (calibrator,), validation = fit_calibrators("temperature", [(real, generated)])
    assert calibrator == fit_calibrator("temperature", real[::2], generated[::2])
    assert torch.equal(validation.raw[0], real[1::2])
    assert torch.equal(validation.raw[1], generated[1::2])
