"""Loaders of whole batches, and one that can go on in the middle of an epoch."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from lfiw.data.batches import EpochBatches

T = TypeVar("T")


def batch_loader(rows: Dataset[T], batches: Iterable[Any], num_workers: int = 0) -> DataLoader[T]:
    """A loader whose sampler chooses whole batches.

    Args:
        rows: an item is a batch.
        batches: what chooses the items.
        num_workers: processes that read ahead.
    """
    return DataLoader(rows, **loader_options(batches, num_workers))


class TrainingLoader(DataLoader[T]):
    """As `batch_loader`, for training: Lightning keeps its place in the epoch in checkpoints.

    Batches that were handed out before are neither read nor made again.
    """

    def __init__(self, rows: Dataset[T], batches: EpochBatches[Any], num_workers: int = 0) -> None:
        super().__init__(rows, **loader_options(batches, num_workers))
        self.batches = batches
        self.first, self.handed_out = 0, 0

    def __iter__(self) -> Iterator[T]:  # type: ignore[override]
        # a generator: nothing is drawn before the first batch is asked for, when the sampler has been told its epoch;
        # processes that read ahead would else do so in the epoch before
        self.handed_out, self.first = self.first, 0
        self.batches.start_at(self.handed_out)
        for batch in super().__iter__():
            self.handed_out += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """How many batches of the epoch were handed out."""
        return {"batches": self.handed_out}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next pass goes on there; it is a whole one where that was the end of an epoch."""
        self.first = state["batches"] if state["batches"] < len(self) else 0


def loader_options(batches: Iterable[Any], num_workers: int) -> dict[str, Any]:
    return {
        "batch_size": None,
        "sampler": batches,
        "collate_fn": as_it_is,
        "num_workers": num_workers,
        "persistent_workers": num_workers > 0,
        "pin_memory": torch.cuda.is_available(),
    }


def as_it_is(batch: Any) -> Any:
    """The collate function of loaders whose data set makes whole batches."""
    return batch
