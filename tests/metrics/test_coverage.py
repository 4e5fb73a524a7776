"""95 % intervals over independent repetitions: how often they cover the expected score at these sizes."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lfiw.metrics.influence import (
    Contributions,
    frechet_contributions,
    inception_score_contributions,
    kernel_contributions,
    null_distance,
)
from lfiw.metrics.sample_size import interval_kind
from lfiw.weighting.diagnostics import effective_sample_size, half_width

REPETITIONS = 600
D, N = 4, 400


def draw(shift: float, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Real rows, generated rows, and two weightings of them: uniform, and a fixed function of the rows."""
    generator = torch.Generator().manual_seed(seed)
    real = torch.randn(N, D, generator=generator)
    generated = torch.randn(N, D, generator=generator) * 1.2 + shift
    weights = torch.stack([torch.zeros(N), -0.5 * shift * generated.sum(1) / D**0.5], dim=1).double().exp()
    return real, generated, weights


def inception(real: Tensor, generated: Tensor, weights: Tensor) -> Contributions:
    return inception_score_contributions(torch.softmax(2 * generated.double(), dim=1), weights)


def widths(contributions: Contributions) -> np.ndarray:
    of = zip(contributions.standard_errors().tolist(), contributions.degrees_of_freedom().tolist(), strict=True)
    return np.array([half_width(error, degrees) for error, degrees in of])


def coverage(contributions, shift: float) -> tuple[float, float, float, np.ndarray]:
    """Share of intervals that cover the mean over other repetitions: uniform, weighted, difference; and the scores."""
    found = [contributions(*draw(shift, seed)) for seed in range(REPETITIONS)]
    others = np.stack([contributions(*draw(shift, 10_000 + seed)).score.numpy() for seed in range(2 * REPETITIONS)])
    truth = others.mean(0)
    scores = np.stack([c.score.numpy() for c in found])
    inside = (np.abs(scores - truth) <= np.stack([widths(c) for c in found])).mean(0)
    difference = scores[:, 1] - scores[:, 0]
    covers = (np.abs(difference - (truth[1] - truth[0])) <= [widths(c.differences())[1] for c in found]).mean()
    return inside[0], inside[1], covers, others


@pytest.mark.parametrize(
    "contributions", [frechet_contributions, kernel_contributions, inception], ids=["fid", "kid", "is"]
)
def test_intervals_cover(contributions) -> None:
    uniform, weighted, difference, others = coverage(contributions, shift=0.7)
    if contributions is frechet_contributions:  # the label of these intervals is nominal
        real, generated, weights = draw(0.7, 0)
        degrees = contributions(real, generated, weights).degrees_of_freedom().tolist()
        for score, column, nu in zip(others.mean(0).tolist(), weights.T, degrees, strict=True):
            size = effective_sample_size(column).item()
            assert interval_kind(score, null_distance(real, size).item(), size, D, nu) == "nominal"
    print(f"coverage of uniform {uniform:.3f}, weighted {weighted:.3f}, difference {difference:.3f}")
    assert 0.92 <= uniform <= 0.98
    assert 0.92 <= weighted <= 0.98
    assert 0.92 <= difference <= 0.98


@pytest.mark.parametrize("contributions", [frechet_contributions, kernel_contributions], ids=["fid", "kid"])
def test_near_zero_they_are_conservative(contributions) -> None:
    uniform, _, _, _ = coverage(contributions, shift=0.0)
    print(f"coverage {uniform:.3f}")
    assert uniform >= 0.92


def test_null_distance_is_what_noise_makes() -> None:
    generator = torch.Generator().manual_seed(0)
    scales = torch.tensor([1.0, 0.5, 2.0, 1.5])

    def pair() -> tuple[Tensor, Tensor]:
        return torch.randn(500, 4, generator=generator) * scales, torch.randn(300, 4, generator=generator) * scales

    ones = torch.ones(300, 1)
    scores = [frechet_contributions(*pair(), ones).score.item() for _ in range(400)]
    expected = null_distance(torch.randn(20_000, 4, generator=generator) * scales, 300).item()
    expected *= (1 / 500 + 1 / 300) / (1 / 20_000 + 1 / 300)
    assert np.mean(scores) == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize(("spread", "told"), [(0.4, 0.05), (0.8, 0.5), (1.3, 0.9)])
def test_intervals_under_heavy_weights_cover_or_are_told(spread: float, told: float) -> None:
    """Lognormal weights: intervals cover, or nearly all of them are told to rest on few rows.

    The label is read off the same sample: one that lacks the rows of the tail lacks their sign too, so that it tells
    of the kind of weights, not of single samples.
    """
    repetitions, n, few, covers = 300, 600, 0, 0

    def score(seed: int) -> Contributions:
        generator = torch.Generator().manual_seed(seed)
        real = torch.randn(n, D, generator=generator)
        generated = torch.randn(n, D, generator=generator) * 1.2 + 0.7
        return frechet_contributions(real, generated, (-spread * generated.sum(1) / D**0.5).double().exp()[:, None])

    truth = np.mean([score(100_000 + seed).score.item() for seed in range(2 * repetitions)])
    for seed in range(repetitions):
        found = score(seed)
        kind = interval_kind(found.score.item(), 0.0, n, D, found.degrees_of_freedom().item())
        few += kind == "few rows"
        covers += abs(found.score.item() - truth) <= widths(found)[0]
    print(f"spread {spread}: {covers / repetitions:.3f} cover, {few / repetitions:.3f} are told to rest on few rows")
    if told < 0.9:
        assert covers >= 0.92 * repetitions
        assert few <= told * repetitions
    else:
        assert few >= told * repetitions
