"""How the log-ratios of several classifiers become one a row."""

import numpy as np
import torch

from lfiw.ratio.cross_fitting import combine, joined
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


def test_the_inputs_of_a_row_are_averaged_when_each_is_calibrated() -> None:
    fold_of = torch.tensor([0, 1, -1, 1])
    inputs = torch.stack([VALUES, VALUES.flip(2).sqrt() - 3])
    log_ratio, spread = joined(inputs, fold_of, [[Temperature(0.5), None], [None, Temperature(2.0)]])
    a, b = (v.mean(1).numpy() * scale for v, scale in zip(inputs, ([[0.5], [1]], [[1], [2]]), strict=True))
    own = (a + b) / 2
    np.testing.assert_allclose(log_ratio, [own[0, 0], own[1, 1], own[:, 2].mean(), own[1, 3]])
    members = inputs.numpy().mean(0)  # of the ensembles, each the mean over its inputs
    expected = [members[0, :, 0].std(), members[1, :, 1].std(), members[:, :, 2].std(), members[1, :, 3].std()]
    np.testing.assert_allclose(spread, expected)
    alone, _ = combine(VALUES, fold_of, [None, None])
    assert torch.equal(joined(VALUES[None], fold_of, [[None, None]])[0], alone)
