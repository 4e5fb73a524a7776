"""How the log-ratios of several classifiers become one a row."""

import numpy as np
import torch

from lfiw.ratio.cross_fitting import combine
from lfiw.weighting.calibration import Temperature

VALUES = torch.arange(24, dtype=torch.float64).view(2, 3, 4).square()  # folds, members, rows


def test_a_row_takes_its_own_folds_mean_and_others_all() -> None:
    fold_of = torch.tensor([0, 1, -1, 1])
    log_ratio, spread = combine(VALUES, fold_of, [None, None])
    v = VALUES.numpy()
    expected = [v[0, :, 0].mean(), v[1, :, 1].mean(), v[:, :, 2].mean(), v[1, :, 3].mean()]
    np.testing.assert_allclose(log_ratio, expected)
    np.testing.assert_allclose(spread, [v[0, :, 0].std(), v[1, :, 1].std(), v[:, :, 2].std(), v[1, :, 3].std()])


def test_each_fold_has_its_calibrator() -> None:
    fold_of = torch.tensor([0, 1, -1, 1])
    log_ratio, _ = combine(VALUES, fold_of, [Temperature(0.5), None])
    v = VALUES.mean(1).numpy()
    np.testing.assert_allclose(log_ratio, [v[0, 0] / 2, v[1, 1], (v[0, 2] / 2 + v[1, 2]) / 2, v[1, 3]])


def test_one_classifier_is_itself() -> None:
    log_ratio, spread = combine(VALUES[:1, :1], torch.full((4,), -1), [None])
    assert torch.equal(log_ratio, VALUES[0, 0])
    assert (spread == 0).all()
