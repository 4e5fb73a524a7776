"""Splits of a table's rows, batches from several subsets, and passes through them in order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int64
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lfiw.data.batches import BatchIndex, RowsInOrder, batch_loader
from lfiw.data.table import ROW, Table, TensorTable, table_name
from lfiw.data.transforms import AUGMENTATIONS
from lfiw.errors import InputError


@dataclass(frozen=True)
class Subset:
    """Some rows of a table, in ascending order."""

    table: Table
    rows: Int64[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, positions: Tensor, columns: Sequence[str]) -> dict[str, Tensor]:
        """Reads the named columns at positions within this subset: name → (positions, …)."""
        return self.table.read(self.rows[positions], columns)

    def column(self, name: str) -> Tensor:
        """Reads all of a column's values in this subset: (n, …)."""
        return self.table.read(self.rows, [name])[name]


def evenly_spaced(num_rows: int, most: int) -> Bool[Tensor, " num_rows"]:
    """Marks at most `most` rows, as far apart as they can be; all rows if `most` is 0."""
    if not 0 < most < num_rows:
        return torch.ones(num_rows, dtype=torch.bool)
    mask = torch.zeros(num_rows, dtype=torch.bool)
    mask[torch.arange(most) * num_rows // most] = True
    return mask


def everything(table: Table) -> Subset:
    """Returns all rows of a table as a subset."""
    return Subset(table, torch.arange(len(table)))


def split_rows(num_rows: int, fractions: Mapping[str, float], seed: int) -> dict[str, Int64[Tensor, " _"]]:
    """Splits the rows 0 … num_rows − 1 at random into disjoint parts, each in ascending order.

    Args:
        fractions: name → share of the rows, in [0, 1], with a sum of at most 1. A part's size is its rounded share;
            rounding errors do not accumulate.

    Raises:
        InputError: a fraction is outside [0, 1], their sum is above 1, or a positive fraction gives no row.
    """
    total = sum(fractions.values())
    if any(not 0 <= share <= 1 for share in fractions.values()) or total > 1 + 1e-9:
        raise InputError(f"fractions {dict(fractions)} must each lie in [0, 1] and sum to at most 1, not {total:g}")
    order = torch.randperm(num_rows, generator=torch.Generator().manual_seed(seed))
    parts, start, passed = {}, 0, 0.0
    for name, share in fractions.items():
        passed += share
        stop = round(passed * num_rows)
        parts[name] = order[start:stop].sort().values
        if share > 0 and start == stop:
            raise InputError(f"the {name} split has no row: {share:g} of {num_rows} rows; give it a larger fraction")
        start = stop
    return parts


def units_of(group: Tensor | None, num_rows: int) -> Int64[Tensor, " n"]:
    """Returns the number of each row's group, 0 … groups − 1; without groups every row is its own."""
    if group is None:
        return torch.arange(num_rows)
    return torch.unique(group, return_inverse=True)[1]


def rows_in(units: Int64[Tensor, " n"], chosen: Int64[Tensor, " k"]) -> Int64[Tensor, " _"]:
    """Returns the positions of the rows whose unit is among the chosen ones, ascending."""
    return torch.isin(units, chosen).nonzero().squeeze(1)


def cross_fitting_rows(
    rows: Int64[Tensor, " n"], folds: int, fractions: Mapping[str, float], seed: int
) -> list[dict[str, Int64[Tensor, " _"]]]:
    """Returns, for each of `folds` disjoint parts of the rows, the part itself (`held_out`) and a split of the others.

    Args:
        fractions: name → share of the other rows; they sum to 1.
    """
    parts = list(split_rows(len(rows), {f"fold {i}": 1 / folds for i in range(folds)}, seed).values())
    splits = []
    for i, held_out in enumerate(parts):
        others = torch.cat([part for j, part in enumerate(parts) if j != i]).sort().values
        split = split_rows(len(others), fractions, seed + i + 1)
        splits.append({"held_out": rows[held_out], **{name: rows[others[chosen]] for name, chosen in split.items()}})
    return splits


Batch = dict[str, Tensor]
REAL, GENERATED, REFERENCE = 0, 1, 2  # values of a batch's `side`


class MixedRows(Dataset[Batch]):
    """Several subsets, one after another; each item is a batch, chosen by a `BatchIndex`.

    A batch maps column names to (n, …), `side` to the number of each row's subset and `position` to its place there,
    both int64. Rows of earlier subsets come first.
    """

    def __init__(self, subsets: Sequence[Subset], columns: Sequence[str], augment: str = "none") -> None:
        self.subsets, self.columns = list(subsets), list(columns)
        self.augment = AUGMENTATIONS[augment]
        self.bounds = torch.tensor([0, *(len(subset) for subset in subsets)]).cumsum(0)

    def __len__(self) -> int:
        return int(self.bounds[-1])

    def __getitem__(self, index: BatchIndex) -> Batch:
        side = torch.bucketize(index.positions.contiguous(), self.bounds[1:], right=True)
        position = index.positions - self.bounds[side]
        shares = position.split(torch.bincount(side, minlength=len(self.subsets)).tolist())
        parts = [subset.read(share, self.columns) for subset, share in zip(self.subsets, shares, strict=True)]
        batch = {name: torch.cat([part[name] for part in parts]) for name in self.columns}
        if self.augment is not None and index.seed is not None:
            images = self.columns[0]
            batch[images] = self.augment(batch[images], index.seed, share=index.share, size=index.size)
        return {**batch, "side": side, "position": position}

    def rows_of(self, batch: Batch) -> list[dict[str, Any]]:
        """Returns the rows of a batch, grouped by the tables that they belong to."""
        side, position = batch["side"].cpu(), batch["position"].cpu()
        entries = []
        for number, subset in enumerate(self.subsets):
            rows = subset.rows[position[side == number]]
            if isinstance(subset.table, TensorTable) and ROW in subset.table.columns:
                rows = subset.table[ROW][rows]
            entries.append({"table": table_name(subset.table), "rows": rows.tolist()})
        return entries


class InOrderDataModule(LightningDataModule):
    """One pass through each sequence of subsets: `trainer.predict` takes all of them, `trainer.test` the first.

    Args:
        passes: called when the loaders are created. `side` in a batch is the number of the row's subset in its pass.
        columns: those that a batch holds.
        batch_size: rows per step and process.
    """

    def __init__(
        self,
        passes: Callable[[], Sequence[Sequence[Subset]]],
        columns: Sequence[str],
        *,
        batch_size: int,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.passes, self.columns = passes, list(columns)
        self.batch_size, self.num_workers = batch_size, num_workers

    def predict_dataloader(self) -> list[DataLoader[Batch]]:
        return [self._loader(subsets) for subsets in self.passes()]

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.passes()[0])

    def _loader(self, subsets: Sequence[Subset]) -> DataLoader[Batch]:
        assert self.trainer is not None
        rows = MixedRows(subsets, self.columns)
        order = RowsInOrder(
            len(rows),
            batch_size=self.batch_size,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )
        return batch_loader(rows, order, self.num_workers)
