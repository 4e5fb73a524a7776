"""Rows drawn by weight: their expectation and variance, their share per class, processes and resumption."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from lfiw import InputError
from lfiw.data import WeightedRows
from lfiw.data.weighted_rows import WeightedDraw, weights_within

WEIGHTS = torch.tensor([0.0, 0.3, 1.0, 2.7, 0.5, 1.5], dtype=torch.float64)
STRATA = torch.tensor([1, 0, 1, 0, 1, 0])


def epoch(sampler: WeightedRows, number: int) -> list[int]:
    sampler.set_epoch(number)
    found = list(sampler)
    assert len(found) == len(sampler)
    return found


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30).filter(lambda w: max(w) > 1e-6), st.integers(1, 80))
def test_every_row_is_drawn_as_often_as_its_weight_says(weights: list[float], num_rows: int) -> None:
    w = np.array(weights)
    drawn = epoch(WeightedRows(torch.tensor(weights, dtype=torch.float64), num_rows=num_rows), 0)
    counts = np.bincount(drawn, minlength=len(w))
    assert counts.sum() == num_rows
    assert (np.abs(counts - num_rows * w / w.sum()) < 1 + 1e-9).all()
    assert (counts[w == 0] == 0).all()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(0, 100))
def test_every_class_keeps_its_share(classes: list[int], seed: int) -> None:
    strata = torch.tensor(classes)
    weights = torch.rand(len(strata), generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.01
    drawn = epoch(WeightedRows(weights, strata=strata, seed=seed), 1)
    # as many draws as rows: a class is drawn as often as it has rows
    assert torch.equal(strata[drawn].bincount(minlength=4), strata.bincount(minlength=4))


def test_weights_within_classes_have_mean_one() -> None:
    found = weights_within(WEIGHTS, STRATA).numpy()
    for label in (0, 1):
        own = WEIGHTS.numpy()[STRATA.numpy() == label]
        np.testing.assert_allclose(found[STRATA.numpy() == label], own / own.mean())


def test_the_mean_of_drawn_batches_is_the_weighted_mean_with_the_variance_of_the_weighted_distribution() -> None:
    """Over epochs, against Σ w̄ f and, for single rows, Σ w̄ f² − (Σ w̄ f)²; weights in the loss have Σ n w̄² f² − …"""
    values = np.array([5.0, 1.0, -2.0, 4.0, 0.5, 3.0])
    w = WEIGHTS.numpy() / WEIGHTS.sum().item()
    sampler = WeightedRows(WEIGHTS, num_rows=4, seed=3)
    first = np.array([values[epoch(sampler, number)[0]] for number in range(4000)])
    mean, variance = (w * values).sum(), (w * values**2).sum() - (w * values).sum() ** 2
    assert abs(first.mean() - mean) < 4 * np.sqrt(variance / len(first))
    assert first.var() == pytest.approx(variance, rel=0.1)
    in_the_loss = (len(w) * w**2 * values**2).sum() - mean**2
    assert first.var() < 0.6 * in_the_loss


def test_a_plain_loader_takes_it() -> None:
    data = TensorDataset(torch.arange(6))
    loader = DataLoader(data, batch_size=4, sampler=WeightedRows(WEIGHTS, num_rows=12, seed=1))
    batches = [batch.tolist() for (batch,) in loader]
    assert [len(batch) for batch in batches] == [4, 4, 4]
    assert [row for batch in batches for row in batch] == epoch(WeightedRows(WEIGHTS, num_rows=12, seed=1), 0)


@pytest.mark.parametrize("world_size", [2, 3])
def test_the_processes_together_have_the_draw_of_one(world_size: int) -> None:
    alone = epoch(WeightedRows(WEIGHTS, num_rows=12, seed=5), 2)
    ranks = [
        epoch(WeightedRows(WEIGHTS, num_rows=12, seed=5, rank=rank, world_size=world_size), 2)
        for rank in range(world_size)
    ]
    assert [row for rows in zip(*ranks, strict=True) for row in rows] == alone


def test_an_epoch_is_a_function_of_seed_and_number_and_can_be_entered_anywhere() -> None:
    sampler = WeightedRows(WEIGHTS, num_rows=12, seed=5)
    whole = epoch(sampler, 1)
    torch.manual_seed(torch.seed() % 2**32)
    assert epoch(WeightedRows(WEIGHTS, num_rows=12, seed=5), 1) == whole
    assert epoch(sampler, 2) != whole
    sampler.set_epoch(1)
    sampler.start_at(7)
    assert list(sampler) == whole[7:]
    assert list(sampler) == whole  # the next pass is whole again


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(InputError, match="weights must be ≥ 0"):
        WeightedDraw(-WEIGHTS)
    with pytest.raises(InputError, match="all are zero in stratum 1"):
        WeightedDraw(WEIGHTS, torch.tensor([1, 0, 0, 0, 0, 0]))
    with pytest.raises(InputError, match=r"strata: \(2,\) for weights \(6,\)"):
        WeightedDraw(WEIGHTS, STRATA[:2])
    with pytest.raises(InputError, match="num_rows=7 must be a positive multiple of 2"):
        WeightedRows(WEIGHTS, num_rows=7, world_size=2)
