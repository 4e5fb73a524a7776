"""The control of equal ESS."""

import itertools

import pytest
import torch
from torch import Tensor

from lfiw.intervals.matched import control, permuted
from lfiw.metrics.frechet import FrechetReference


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
    mean, error = control(lambda w: w.square().sum(0), weights, permutations=5)
    torch.testing.assert_close(mean, weights.square().sum(0))
    assert error.tolist() == pytest.approx([0, 0, 0], abs=1e-12)


def test_mean_and_error_are_those_of_all_permutations() -> None:
    values, weights = torch.tensor([1.0, 2.0, 4.0, 8.0]).double(), torch.tensor([0.1, 0.2, 0.3, 0.4]).double()
    every = torch.tensor([(weights[list(p)] * values).sum() for p in itertools.permutations(range(4))]).double()
    mean, error = control(lambda w: values @ w, weights[:, None], permutations=4000, seed=3)
    assert mean.item() == pytest.approx(every.mean().item(), abs=4 * error.item())
    assert error.item() == pytest.approx(every.std(correction=0).item() / 4000**0.5, rel=0.05)


def test_seed_fixes_the_result() -> None:
    weights = torch.rand(20, 1, dtype=torch.float64)
    slope = torch.arange(20.0).double()

    def score(w: Tensor) -> Tensor:
        return slope @ w

    assert torch.equal(control(score, weights, seed=4)[0], control(score, weights, seed=4)[0])
    assert not torch.equal(control(score, weights, seed=4)[0], control(score, weights, seed=5)[0])


def test_right_weights_beat_their_control_and_random_ones_do_not() -> None:
    generator = torch.Generator().manual_seed(6)
    real = torch.randn(4000, 3, generator=generator)
    generated = torch.randn(4000, 3, generator=generator) + torch.tensor([0.7, 0.0, 0.0])
    exact = (-0.7 * generated[:, 0] + 0.245).double().exp()  # N(0, 1)/N(0.7, 1)
    weights = torch.stack([exact, permuted(exact[:, None], 1, generator)[0, :, 0]], dim=1)
    reference = FrechetReference(real)

    def score(columns: Tensor) -> Tensor:
        return torch.stack([reference.distance(generated, w) for w in columns.T])

    mean, error = control(score, weights)
    correction = score(weights) - mean
    assert correction[0] < -0.3  # nearly all of 0.49
    assert abs(correction[1]) < 5 * 10**0.5 * error[1]
