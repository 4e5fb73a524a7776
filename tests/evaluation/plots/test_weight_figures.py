"""The numbers behind the figures of weights."""

import numpy as np
import pytest
import torch
from matplotlib.patches import StepPatch

from lfiw.evaluation.plots import weight_histogram
from lfiw.evaluation.plots.weight_figures import POINTS, heaviest_share, relative_to_uniform


@pytest.mark.parametrize("n", [1, 2, 7, 5000])
def test_shares_against_a_loop(n: int) -> None:
    weights = np.random.default_rng(n).gamma(0.3, size=n)
    share, mass = heaviest_share(torch.from_numpy(weights))
    heaviest = sorted(weights, reverse=True)
    for x, y in zip(share, mass, strict=True):
        assert y == pytest.approx(sum(heaviest[: round(x * n)]) / sum(heaviest), rel=1e-9)
    assert (share[0], mass[0], share[-1], mass[-1]) == (0, 0, 1, pytest.approx(1))
    assert len(share) <= POINTS + 1


def test_every_sample_is_in_a_bin() -> None:
    weights = torch.from_numpy(np.random.default_rng(0).lognormal(0, 3, 1000))
    figure = weight_histogram({"a": weights, "b": weights.sqrt()})
    counts = [patch.get_data().values.sum() for patch in figure.axes[0].patches if isinstance(patch, StepPatch)]
    assert counts == [1000, 1000, 1000]  # a is drawn twice: filled, and its outline


def test_relative_weights_do_not_overflow() -> None:
    found = relative_to_uniform([1e308, 1e308, 0.0])
    np.testing.assert_allclose(found, [1.5, 1.5, 0])
