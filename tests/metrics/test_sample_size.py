"""Kinds of intervals, the control of equal ESS, and scores at infinitely many samples."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lfiw.metrics.frechet import FrechetReference
from lfiw.metrics.sample_size import control, control_columns, extrapolate, interval_kind, permuted


@pytest.mark.parametrize(
    ("score", "size", "degrees", "kind"),
    [
        (3.0, 40, 30, "nominal"),
        (2.9, 40, 30, "conservative"),  # below three times what noise makes
        (3.0, 39, 30, "conservative"),  # ESS < 10 D
        (3.0, 8, 30, "conservative"),
        (3.0, 7.9, 30, "none"),  # ESS < 2 D
        (3.0, 40, 29.9, "few rows"),
        (2.9, 40, 29.9, "few rows"),
        (3.0, 40, math.nan, "none"),
    ],
)
def test_kinds_change_at_their_limits(score: float, size: float, degrees: float, kind: str) -> None:
    assert interval_kind(score, 1.0, size, dimension=4, degrees_of_freedom=degrees) == kind


def test_permutations_move_whole_rows_and_keep_every_weight() -> None:
    weights = torch.rand(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = permuted(weights, 4, torch.Generator().manual_seed(1))
    assert found.shape == (4, 50, 2)
    for one in found:
        order = one[:, 0].argsort()
        torch.testing.assert_close(one[order], weights[weights[:, 0].argsort()], rtol=0, atol=0)
    assert not any(torch.equal(a, b) for a, b in itertools.combinations([*found, weights], 2))


def test_columns_stay_with_their_weighting() -> None:
    # a score that permuting does not change is its own control
    weights = torch.rand(30, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    mean, error = control(control_columns(weights, permutations=5).square().sum(0), 5)
    torch.testing.assert_close(mean, weights.square().sum(0))
    assert error.tolist() == pytest.approx([0, 0, 0], abs=1e-12)


def test_mean_and_error_are_those_of_all_permutations() -> None:
    values, weights = torch.tensor([1.0, 2.0, 4.0, 8.0]).double(), torch.tensor([0.1, 0.2, 0.3, 0.4]).double()
    every = torch.tensor([(weights[list(p)] * values).sum() for p in itertools.permutations(range(4))]).double()
    mean, error = control(values @ control_columns(weights[:, None], permutations=4000, seed=3), 4000)
    assert mean.item() == pytest.approx(every.mean().item(), abs=4 * error.item())
    assert error.item() == pytest.approx(every.std(correction=0).item() / 4000**0.5, rel=0.05)


def test_seed_fixes_the_result() -> None:
    weights = torch.rand(20, 1, dtype=torch.float64)
    slope = torch.arange(20.0).double()

    def mean(seed: int) -> Tensor:
        return control(slope @ control_columns(weights, seed=seed), 10)[0]

    assert torch.equal(mean(4), mean(4))
    assert not torch.equal(mean(4), mean(5))


def test_right_weights_beat_their_control_and_random_ones_do_not() -> None:
    generator = torch.Generator().manual_seed(6)
    real = torch.randn(4000, 3, generator=generator)
    generated = torch.randn(4000, 3, generator=generator) + torch.tensor([0.7, 0.0, 0.0])
    exact = (-0.7 * generated[:, 0] + 0.245).double().exp()  # N(0, 1)/N(0.7, 1)
    weights = torch.stack([exact, permuted(exact[:, None], 1, generator)[0, :, 0]], dim=1)
    reference = FrechetReference(real)

    def score(columns: Tensor) -> Tensor:
        return torch.stack([reference.distance(generated, w) for w in columns.T])

    mean, error = control(score(control_columns(weights)), 10)
    correction = score(weights) - mean
    assert correction[0] < -0.3  # nearly all of 0.49
    assert abs(correction[1]) < 5 * 10**0.5 * error[1]


def size_of(weights: Tensor) -> float:
    return (weights.sum().square() / weights.square().sum()).item()


def test_a_line_in_the_effective_size_is_recovered() -> None:
    weights = torch.rand(1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).square()
    limit, error = extrapolate(lambda rows: 3.0 + 50 / size_of(weights[rows]), weights)
    assert limit == pytest.approx(3.0, rel=1e-9)
    assert error < 1e-6


def test_intercept_and_its_error_equal_those_of_numpy() -> None:
    weights = torch.rand(500, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    seen: list[tuple[float, float]] = []

    def score(rows: Tensor) -> float:
        seen.append((1 / size_of(weights[rows]), weights[rows].mean().item()))
        return seen[-1][1]

    limit, error = extrapolate(score, weights, points=12, seed=2)
    x, y = np.array(seen).T
    coefficients, covariance = np.polyfit(x, y, 1, cov=True)
    assert limit == pytest.approx(coefficients[1], rel=1e-9)
    assert error == pytest.approx(covariance[1, 1] ** 0.5, rel=1e-9)


def test_subsets_grow_evenly_from_half_to_all_rows_without_repeats() -> None:
    sizes: list[int] = []

    def score(rows: Tensor) -> float:
        assert len(rows.unique()) == len(rows)
        sizes.append(len(rows))
        return float(len(rows))

    extrapolate(score, torch.ones(100), points=6)
    assert sizes == [50, 60, 70, 80, 90, 100]


def test_bias_of_the_frechet_distance_goes() -> None:
    # both sides are N(0, 1), the real one exactly known: FID is all bias, its limit is 0
    generator = torch.Generator().manual_seed(3)
    real = torch.randn(40_000, 8, generator=generator)
    reference = FrechetReference(real)
    limits, scores = [], []
    for _ in range(20):
        generated = torch.randn(600, 8, generator=generator)
        weights = torch.rand(600, dtype=torch.float64, generator=generator) + 0.5  # of the row's number, not its value
        limits.append(
            extrapolate(lambda rows, x=generated, w=weights: reference.distance(x[rows], w[rows]).item(), weights)[0]
        )
        scores.append(reference.distance(generated, weights).item())
    assert np.mean(scores) > 0.03
    assert abs(np.mean(limits)) < 0.25 * np.mean(scores)
