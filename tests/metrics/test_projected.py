"""Fréchet distances of one sample under many weightings equal those of each by itself."""

import pytest
import torch
from torch import Tensor

from lfiw.errors import InputError, LostScore
from lfiw.metrics import frechet_distance_from_features, projected
from lfiw.metrics.frechet import FrechetReference
from lfiw.metrics.projected import ProjectedSample

D = 12


def pair(num_real: int = 90, num: int = 400, shift: float = 0.3) -> tuple[Tensor, Tensor, Tensor]:
    """Real and generated rows, correlated and far from zero, and two heavy-tailed columns of weights."""
    g = torch.Generator().manual_seed(0)
    mix = torch.randn(D, D, generator=g, dtype=torch.float64)
    real = torch.randn(num_real, D, generator=g, dtype=torch.float64) @ mix + 50
    generated = torch.randn(num, D, generator=g, dtype=torch.float64) @ mix * 1.2 + 50 + shift
    return real, generated, (1.5 * torch.randn(num, 2, generator=g, dtype=torch.float64)).exp()


def alone(real: Tensor, generated: Tensor, weights: Tensor) -> float:
    """The same by another route: the nuclear norm of the rows' products, or the moments."""
    return frechet_distance_from_features(real, generated, generated_weights=weights).item()


@pytest.mark.parametrize("num_real", [90, 7], ids=["full rank", "fewer real rows than dimensions"])
def test_distances_of_columns_equal_those_of_each(num_real: int) -> None:
    real, generated, weights = pair(num_real)
    columns = torch.cat([weights, torch.ones(400, 1, dtype=torch.float64), weights[:, :1]], dim=1)
    found = ProjectedSample(FrechetReference(real), generated).distances(columns)
    assert found.tolist() == pytest.approx([alone(real, generated, column) for column in columns.T], rel=1e-7)
    assert found[3] == found[0]  # computed once


def test_a_weighting_of_few_or_dominating_rows() -> None:
    real, generated, weights = pair()
    few, one = torch.zeros(400, dtype=torch.float64), weights[:, 0] * 1e-12
    few[:5], one[17] = 1, 1
    found = ProjectedSample(FrechetReference(real), generated).distances(torch.stack([few, one], dim=1))
    assert found.tolist() == pytest.approx([alone(real, generated, few), alone(real, generated, one)], rel=1e-6)


def test_weights_on_rows_far_from_the_others() -> None:
    real, generated, weights = pair()
    generated[:40] += 1e6
    far = torch.cat([weights[:40, 0], torch.full((360,), 1e-30, dtype=torch.float64)])
    found = ProjectedSample(FrechetReference(real), generated).distances(far[:, None])
    assert found.item() == pytest.approx(alone(real, generated, far), rel=1e-9)


@pytest.mark.parametrize("num", [5, 150, 250, 330, 400])
def test_parts_equal_the_distances_of_their_rows(num: int) -> None:
    real, generated, weights = pair()
    rows = torch.randperm(400, generator=torch.Generator().manual_seed(num))[:num]
    sample = ProjectedSample(FrechetReference(real), generated)
    for w in weights.T:
        assert sample.parts(w)(rows).item() == pytest.approx(alone(real, generated[rows], w[rows]), rel=1e-7)


def test_a_part_with_little_of_the_weight_keeps_its_digits() -> None:
    real, generated, weights = pair()
    w = weights[:, 0].clone()
    w[:20] *= 1e15
    rows = torch.arange(20, 400)
    found = ProjectedSample(FrechetReference(real), generated).parts(w)(rows)
    assert found.item() == pytest.approx(alone(real, generated[rows], w[rows]), rel=1e-7)


def test_samples_that_are_too_large_to_project(monkeypatch: pytest.MonkeyPatch) -> None:
    real, generated, weights = pair()
    monkeypatch.setattr(projected, "MOST_BYTES", 1000)
    sample = ProjectedSample(FrechetReference(real), generated)
    expected = [alone(real, generated, w) for w in weights.T]
    assert sample.distances(weights).tolist() == pytest.approx(expected, rel=1e-7)
    rows = torch.arange(300)
    part = sample.parts(weights[:, 0])(rows).item()
    assert part == pytest.approx(alone(real, generated[rows], weights[rows, 0]), rel=1e-7)
    assert "projected" not in vars(sample)


def test_what_cannot_be_compared_is_refused() -> None:
    real, generated, weights = pair()
    reference = FrechetReference(real)
    with pytest.raises(InputError, match="columns"):
        ProjectedSample(reference, generated[:, :3])
    with pytest.raises(InputError, match="at least 2"):
        ProjectedSample(reference, generated).distances(torch.eye(400, dtype=torch.float64)[:, :1])
    with pytest.raises(LostScore, match="overflow"):
        ProjectedSample(reference, generated * 1e160).distances(weights)
