"""Which rows make up each batch, and loaders of whole batches.

Batches are a function of (seed, epoch, step, rank) alone, never of hidden random state. The samplers are for a
`DataLoader(batch_size=None)`: they yield whole batches, and Lightning sets their epoch by `set_epoch`.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from operator import index
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from lfiw.errors import InputError
from lfiw.schemas import MixedData, check_values

T = TypeVar("T")


@dataclass(frozen=True)
class BatchIndex:
    """This process's share of one batch.

    Args:
        positions: rows of the mixed data set, those of an earlier subset first.
        seed: seed of the batch's augmentation. If None, the batch is not augmented.
        share: (first, stride): this process has every stride-th row of the batch from the first on.
        size: number of rows in the batch, over all processes.
    """

    positions: Int64[Tensor, " n"]
    seed: int | None = None
    share: tuple[int, int] = (0, 1)
    size: int = 0


class EpochBatches(Sampler[T], Generic[T]):
    """Batches of successive epochs, a function of (seed, epoch), so that an epoch can start at any of its batches.

    Args:
        num_batches: batches per epoch.
        seed: seed of all epochs.
    """

    def __init__(self, num_batches: int, seed: int) -> None:
        self.num_batches, self.seed = num_batches, seed
        self.epoch, self.first = 0, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def start_at(self, batch: int) -> None:
        """Makes the next pass start at this batch; later passes are whole again."""
        self.first = batch

    def __len__(self) -> int:
        """Number of batches in a whole epoch."""
        return self.num_batches

    def __iter__(self) -> Iterator[T]:
        first, self.first = self.first, 0
        generator = torch.Generator().manual_seed(mix_seeds(self.seed, self.epoch))
        return islice(self.draw(generator), first, None)

    def draw(self, generator: torch.Generator) -> Iterator[T]:
        """Yields the batches of an epoch, by that epoch's random numbers."""
        raise NotImplementedError


class SharedBatches(EpochBatches[BatchIndex]):
    """Batches shared among processes: all draw the same ones, and each takes every world_size-th row.

    A batch, its augmentation and the mean of the processes' gradients do not depend on the number of processes.

    Args:
        num_batches, seed: as in `EpochBatches`.
        batch_size: rows per step over all processes, a multiple of their number.
        rank, world_size: which process this is, of how many.
    """

    def __init__(self, num_batches: int, batch_size: int, seed: int, rank: int, world_size: int) -> None:
        super().__init__(num_batches, seed)
        self.batch_size, self.rank, self.world_size = batch_size, rank, world_size

    def positions(self, generator: torch.Generator) -> Int64[Tensor, "batches rows"]:
        """Draws the rows of every batch of an epoch, over all processes."""
        raise NotImplementedError

    def draw(self, generator: torch.Generator) -> Iterator[BatchIndex]:
        batches = self.positions(generator)
        seeds = torch.randint(2**62, (self.num_batches,), generator=generator).tolist()
        share = (self.rank, self.world_size)
        for positions, seed in zip(batches, seeds, strict=True):
            yield BatchIndex(positions[self.rank :: self.world_size], seed, share, self.batch_size)


class MixedBatches(SharedBatches):
    """Training batches of real rows (positions 0 … num_real − 1) and generated rows (the following ones).

    Balanced mixing: each batch is half real, half generated; an epoch passes once through the larger side, and as often
    as needed through the smaller one. Natural mixing: batches are drawn from all rows alike. Every epoch has a new
    order, and drops the rows at its end that do not fill a batch.

    Raises:
        InputError: the mixing is unknown, a side has no rows, or the processes (and sides) cannot share a batch
            equally.
    """

    def __init__(
        self,
        num_real: int,
        num_generated: int,
        *,
        batch_size: int,
        mixing: str,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        check_values({"mixing": mixing}, MixedData, "data.")
        if num_real < 1 or num_generated < 1:
            raise InputError(f"training needs rows of both sides, there are {num_real} real, {num_generated} generated")
        unit = world_size * (2 if mixing == "balanced" else 1)
        if batch_size < unit or batch_size % unit:
            raise InputError(f"data.batch_size={batch_size} must be a positive multiple of {unit} (mixing={mixing})")
        self.num_real, self.num_generated = num_real, num_generated
        self.balanced = mixing == "balanced"
        # small data sets: a batch is at most one pass through the larger side
        rows = 2 * max(num_real, num_generated) if self.balanced else num_real + num_generated
        size = min(batch_size, max(unit, rows // unit * unit))
        super().__init__(max(1, rows // size), size, seed, rank, world_size)

    def positions(self, generator: torch.Generator) -> Int64[Tensor, "batches rows"]:
        rows = self.num_batches * self.batch_size
        if not self.balanced:
            batches = passes(self.num_real + self.num_generated, rows, generator).view(self.num_batches, -1)
            return batches.sort(dim=1).values  # real rows first, as in a balanced batch
        real = passes(self.num_real, rows // 2, generator).view(self.num_batches, -1)
        generated = passes(self.num_generated, rows // 2, generator).view(self.num_batches, -1) + self.num_real
        return torch.cat([real, generated], dim=1)


class ShuffledBatches(SharedBatches):
    """Training batches of one table: an epoch is one pass in a new order, and drops rows that do not fill a batch.

    Raises:
        InputError: the processes cannot share a batch equally.
    """

    def __init__(self, num_rows: int, *, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        if batch_size < world_size or batch_size % world_size:
            raise InputError(f"data.batch_size={batch_size} must be a positive multiple of {world_size}")
        self.num_rows = num_rows
        size = min(batch_size, max(world_size, num_rows // world_size * world_size))
        super().__init__(max(1, num_rows // size), size, seed, rank, world_size)

    def positions(self, generator: torch.Generator) -> Int64[Tensor, "batches rows"]:
        return passes(self.num_rows, self.num_batches * self.batch_size, generator).view(self.num_batches, -1)


class RowsInOrder(Sampler[BatchIndex]):
    """Every row exactly once: each process has a block of consecutive rows, and all take the same number of steps.

    Blocks differ by at most one row. A process's last batch may be empty: it still takes part in the collective
    operations in which the others wait for it.
    """

    def __init__(self, num_rows: int, *, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        check_values({"evaluation_batch_size": batch_size}, MixedData, "data.")
        self.start, self.stop = (num_rows * r // world_size for r in (rank, rank + 1))
        self.batch_size = batch_size
        self.num_batches = math.ceil(math.ceil(num_rows / world_size) / batch_size)

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[BatchIndex]:
        for batch in range(self.num_batches):
            start = min(self.start + batch * self.batch_size, self.stop)
            yield BatchIndex(torch.arange(start, min(start + self.batch_size, self.stop)))


def passes(num_rows: int, length: int, generator: torch.Generator) -> Int64[Tensor, " length"]:
    """Returns the first `length` entries of successive random permutations of 0 … num_rows − 1."""
    repeats = math.ceil(length / num_rows)
    return torch.cat([torch.randperm(num_rows, generator=generator) for _ in range(repeats)])[:length]


def mix_seeds(*seeds: int) -> int:
    """Makes one seed from several, in their order: splitmix64 over the sequence (Steele et al. 2014)."""
    state = 0
    for seed in map(index, seeds):  # numpy's integers would overflow
        state = (state + seed + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1  # torch.Generator takes what fits into a signed 64-bit integer


def batch_loader(
    rows: Dataset[T], batches: Iterable[Any], num_workers: int = 0, *, pin_memory: bool | None = None
) -> DataLoader[T]:
    """Makes a loader whose sampler chooses whole batches.

    Args:
        rows: data set whose items are batches.
        batches: yields the items' indices.
        num_workers: number of processes that read ahead.
        pin_memory: put the batches into pinned memory, from which a GPU takes them without waiting. If None, where
            there is a GPU.
    """
    return DataLoader(rows, **loader_options(batches, num_workers, pin_memory))


class TrainingLoader(DataLoader[T]):
    """As `batch_loader`, for training: Lightning saves its place in the epoch in checkpoints.

    A resumed epoch does not read the earlier batches again.

    Args:
        rows, batches, num_workers, pin_memory: as `batch_loader`.
        gpu: where batches, then dictionaries of tensors in pinned memory, are copied to ahead of their use. If None,
            Lightning copies each one when its step starts.
    """

    def __init__(
        self,
        rows: Dataset[T],
        batches: EpochBatches[Any],
        num_workers: int = 0,
        *,
        pin_memory: bool | None = None,
        gpu: torch.device | None = None,
    ) -> None:
        super().__init__(rows, **loader_options(batches, num_workers, pin_memory))
        self.batches, self.gpu = batches, gpu
        self.first, self.handed_out = 0, 0

    def __iter__(self) -> Iterator[T]:  # type: ignore[override]
        # as a generator, it draws nothing before the first batch is requested, when the sampler's epoch is set;
        # otherwise processes that read ahead would draw from the epoch before
        self.handed_out, self.first = self.first, 0
        self.batches.start_at(self.handed_out)
        batches: Any = super().__iter__()
        if self.gpu is not None:
            batches = copied_ahead(batches, self.gpu)
        for batch in batches:
            self.handed_out += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Number of batches of the epoch that were handed out."""
        return {"batches": self.handed_out}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Makes the next pass start there; after the end of an epoch, with a whole one."""
        self.first = state["batches"] if state["batches"] < len(self) else 0


def loader_options(batches: Iterable[Any], num_workers: int, pin_memory: bool | None) -> dict[str, Any]:
    return {
        "batch_size": None,
        "sampler": batches,
        "collate_fn": as_it_is,
        "num_workers": num_workers,
        "persistent_workers": num_workers > 0,
        "pin_memory": torch.cuda.is_available() if pin_memory is None else pin_memory,
    }


def as_it_is(batch: Any) -> Any:
    """Collates nothing: the data set makes whole batches."""
    return batch


def copied_ahead(batches: Iterable[Mapping[str, Tensor]], gpu: torch.device) -> Iterator[dict[str, Tensor]]:
    """Yields the batches on a GPU; each is copied there, on a stream of its own, while the one before is used.

    Args:
        batches: in pinned memory: no other is copied while the GPU computes.
    """
    copying = torch.cuda.Stream(gpu)
    ahead: tuple[dict[str, Tensor], torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(copying):
            copied = {name: values.to(gpu, non_blocking=True) for name, values in batch.items()}
        if ahead is not None:
            yield arrived(*ahead)
        ahead = copied, copying.record_event()
    if ahead is not None:
        yield arrived(*ahead)


def arrived(batch: dict[str, Tensor], copied: torch.cuda.Event) -> dict[str, Tensor]:
    """Lets the GPU, not the host, wait for the copy; the batch's memory is reused only once it has been used."""
    computing = torch.cuda.current_stream()
    computing.wait_event(copied)
    for values in batch.values():
        values.record_stream(computing)
    return batch
