"""Stacking and cross-fitted recalibration, against scikit-learn and against their definition."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from lfiw.data import TensorTable
from lfiw.ratio.estimator_fitting import Stack, cross_fit, stacking_coefficients
from lfiw.ratio.mixed import MixedDataModule
from lfiw.weighting.calibration import fit_calibrator

FOLDS = 3


def scores(rows: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two noisy scores that both tell, and one that tells the wrong way round."""
    random = torch.Generator().manual_seed(seed)
    noise = [torch.randn(3, rows, generator=random, dtype=torch.float64) for _ in range(2)]
    return noise[0] + torch.tensor([[0.8], [0.5], [-0.4]]), noise[1]


def test_coefficients_are_those_of_logistic_regression() -> None:
    real, generated = (side[:2] for side in scores(800))
    weights = torch.ones(800, dtype=torch.float64), torch.ones(800, dtype=torch.float64)
    model = LogisticRegression(C=1e9, fit_intercept=False, tol=1e-10)
    model.fit(torch.cat([real, generated], 1).T.numpy(), np.repeat([1, 0], 800))
    np.testing.assert_allclose(stacking_coefficients((real, generated), weights), model.coef_[0], atol=1e-4)


def test_what_tells_the_wrong_way_round_is_left_out() -> None:
    weights = torch.ones(800, dtype=torch.float64), torch.ones(800, dtype=torch.float64)
    coefficients = stacking_coefficients(scores(800), weights)
    assert coefficients[2] == 0
    assert (coefficients[:2] > 0).all()


def test_a_weight_of_two_is_a_copy() -> None:
    real, generated = scores(300)
    ones = torch.ones(300, dtype=torch.float64)
    doubled = torch.cat([real, real[:, :100]], 1)
    weights = ones.clone()
    weights[:100] = 2
    copied = stacking_coefficients((doubled, generated), (torch.ones(400, dtype=torch.float64), ones))
    torch.testing.assert_close(stacking_coefficients((real, generated), (weights, ones)), copied, atol=1e-5, rtol=0)


class First:
    """The first coordinate as a log-ratio, times a number."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def log_ratio(self, samples: Tensor) -> Tensor:
        return self.factor * samples[:, 0].double()


def test_calibrators_are_fitted_to_the_rows_of_all_other_folds() -> None:
    random = torch.Generator().manual_seed(0)
    sides = [torch.randn(n, 1, generator=random) + shift for n, shift in ((240, 1.0), (300, 0.0))]
    data = MixedDataModule(
        *(TensorTable({"vector": side}) for side in sides),
        folds=FOLDS,
        fractions={"train": 0.8, "validation": 0.2, "evaluation": 0.0},
    )
    data.setup()
    found = cross_fit(data, [lambda data, seed: First(3.0)], ensemble=1, calibration="temperature", seed=0)
    folds = [data.folds_of(table) for table in (data.real, data.generated) if table is not None]
    for fold in range(FOLDS):
        others = [3 * side[of != fold, 0].double() for side, of in zip(sides, folds, strict=True)]
        expected = fit_calibrator("temperature", *others)(3 * sides[1][folds[1] == fold, 0].double())
        torch.testing.assert_close(found.generated[folds[1] == fold], expected)
    # every row of both sides judges, once
    assert found.validation.rows is not None
    assert [len(rows) for rows in found.validation.rows] == [240, 300]
    torch.testing.assert_close(found.validation.calibrated[0], found.real)


def test_a_stack_is_a_weighted_sum() -> None:
    stack = Stack([First(1.0), First(10.0)], torch.tensor([0.5, 0.25], dtype=torch.float64))
    assert stack.log_ratio(torch.tensor([[2.0]])).item() == pytest.approx(0.5 * 2 + 0.25 * 20)
