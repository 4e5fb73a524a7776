"""Scores at infinitely many samples."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lfiw.intervals.extrapolation import extrapolate
from lfiw.metrics.frechet import FrechetReference


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
