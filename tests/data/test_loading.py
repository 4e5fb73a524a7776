"""Loaders of whole batches: an epoch that is entered in its middle."""

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lfiw.data.batches import BatchIndex, ShuffledBatches, TrainingLoader

NUM, SIZE = 23, 4


class Rows(Dataset[Tensor]):
    """A batch is its own positions; batches that are made are counted, in this process."""

    made = 0

    def __getitem__(self, index: BatchIndex) -> Tensor:
        self.made += 1
        return index.positions


def loader(num_workers: int = 0) -> tuple[TrainingLoader[Tensor], ShuffledBatches]:
    batches = ShuffledBatches(NUM, batch_size=SIZE, seed=5)
    return TrainingLoader(Rows(), batches, num_workers), batches


def epoch_of(number: int) -> list[list[int]]:
    _, batches = loader()
    batches.set_epoch(number)
    return [index.positions.tolist() for index in batches]


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("first", range(NUM // SIZE + 1))
def test_it_goes_on_where_it_was(first: int, num_workers: int) -> None:
    """Lightning makes the iterator first, then tells the epoch; the epoch after the one at hand is whole."""
    stopped, batches = loader(num_workers)
    passing = iter(stopped)
    batches.set_epoch(3)
    assert [next(passing).tolist() for _ in range(first)] == epoch_of(3)[:first]
    kept = stopped.state_dict()
    assert kept == {"batches": first}

    resumed, batches = loader(num_workers)
    resumed.load_state_dict(kept)
    passing = iter(resumed)
    over = first == NUM // SIZE
    batches.set_epoch(4 if over else 3)
    assert [batch.tolist() for batch in passing] == (epoch_of(4) if over else epoch_of(3)[first:])
    assert resumed.state_dict() == {"batches": NUM // SIZE}
    batches.set_epoch(5)
    assert [batch.tolist() for batch in resumed] == epoch_of(5)
    assert len(resumed) == NUM // SIZE


def test_what_was_handed_out_is_not_made_again() -> None:
    resumed, _ = loader()
    resumed.load_state_dict({"batches": 3})
    assert len(list(resumed)) == NUM // SIZE - 3
    assert isinstance(resumed.dataset, Rows)
    assert resumed.dataset.made == NUM // SIZE - 3


def test_epochs_differ() -> None:
    assert epoch_of(0) == epoch_of(0)
    assert epoch_of(0) != epoch_of(1)
    assert torch.tensor(epoch_of(1)).unique().numel() == NUM // SIZE * SIZE
