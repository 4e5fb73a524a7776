"""Whether to weight at all: what held-out characters and validation drawings say."""

import numpy as np
import pytest
import torch
from scipy.stats import ttest_1samp

from lfiw.tasks.augmentation.weighting_gate import ask_source, ask_validation

REGIMES = ("both_drawn", "both")
POOR = {"recognised_real": 0.95, "recognised": 0.5, "recognised_by_weight": 0.9}
LABELS = torch.arange(10).repeat_interleave(5)


def right(share: float, seed: int) -> torch.Tensor:
    return torch.rand(50, generator=torch.Generator().manual_seed(seed)) < share


def test_a_good_generator_leaves_nothing_to_correct() -> None:
    gate = ask_source({"recognised_real": 0.95, "recognised": 0.93, "recognised_by_weight": 0.95}, "both")
    assert gate is not None
    assert (gate.verdict, gate.regime) == ("nothing to correct", "both")
    assert gate.wrong == pytest.approx(1 - 0.93 / 0.95)
    assert ask_source(POOR, "both") is None


def test_weights_that_make_it_worse_are_not_used() -> None:
    assert ask_source({**POOR, "recognised_by_weight": 0.4}, "both") is not None


def test_validation_drawings_can_refuse() -> None:
    better, worse = right(0.9, 0), right(0.5, 1)
    gate = ask_validation(better, worse, LABELS, REGIMES, POOR)
    assert (gate.verdict, gate.regime) == ("corrects", "both_drawn")
    gate = ask_validation(worse, better, LABELS, REGIMES, POOR)
    assert (gate.verdict, gate.regime) == ("cannot be corrected with these samples", "both")


def test_without_source_characters_the_gain_has_to_be_significant() -> None:
    base = right(0.5, 1)
    slightly = base.clone()
    slightly[int((~base).nonzero()[0])] = True
    assert ask_validation(slightly, base, LABELS, REGIMES).regime == "both"
    assert ask_validation(slightly, base, LABELS, REGIMES, POOR).regime == "both_drawn"
    assert ask_validation(torch.ones(50, dtype=torch.bool), base, LABELS, REGIMES).regime == "both_drawn"


def test_the_interval_is_over_characters() -> None:
    first, second = right(0.8, 2), right(0.6, 3)
    gate = ask_validation(first, second, LABELS, REGIMES, POOR)
    gaps = (first.double() - second.double()).numpy().reshape(10, 5).mean(1)
    expected = ttest_1samp(gaps, 0).confidence_interval(0.95)
    np.testing.assert_allclose([gate.difference, gate.low, gate.high], [gaps.mean(), expected.low, expected.high])
