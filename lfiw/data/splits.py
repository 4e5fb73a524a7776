"""Which rows train, validate and evaluate: disjoint on both sides, a function of a seed alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from lfiw.data.table import Table
from lfiw.errors import InputError


@dataclass(frozen=True)
class Subset:
    """Some rows of a table, in ascending order."""

    table: Table
    rows: Int64[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, positions: Tensor, columns: Sequence[str]) -> dict[str, Tensor]:
        """Values of the named columns at positions within this subset: name → (positions, …)."""
        return self.table.read(self.rows[positions], columns)

    def column(self, name: str) -> Tensor:
        """(n, …): all of a column's values in this subset."""
        return self.table.read(self.rows, [name])[name]


def evenly_spaced(num_rows: int, most: int) -> Bool[Tensor, " num_rows"]:
    """Which rows to take so that at most so many are left, as far apart as they can be; 0: all of them."""
    if not 0 < most < num_rows:
        return torch.ones(num_rows, dtype=torch.bool)
    mask = torch.zeros(num_rows, dtype=torch.bool)
    mask[torch.arange(most) * num_rows // most] = True
    return mask


def everything(table: Table) -> Subset:
    """All rows of a table."""
    return Subset(table, torch.arange(len(table)))


def split_rows(num_rows: int, fractions: Mapping[str, float], seed: int) -> dict[str, Int64[Tensor, " _"]]:
    """Disjoint random parts of the rows 0 … num_rows − 1, each in ascending order.

    Args:
        fractions: name → share of the rows, in [0, 1]; their sum at most 1. A part's size is its share rounded, with
            the rounding errors not adding up.

    Raises:
        InputError: a fraction outside [0, 1], a sum above 1, or a positive fraction that comes to no row.
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


def cross_fitting_rows(
    rows: Int64[Tensor, " n"], folds: int, fractions: Mapping[str, float], seed: int
) -> list[dict[str, Int64[Tensor, " _"]]]:
    """For each of `folds` disjoint parts of the rows: the part itself, `held_out`, and a split of all the others.

    Args:
        fractions: name → share of the other rows; they sum to 1.
    """
    parts = list(split_rows(len(rows), {f"fold {i}": 1 / folds for i in range(folds)}, seed).values())
    found = []
    for i, held_out in enumerate(parts):
        others = torch.cat([part for j, part in enumerate(parts) if j != i]).sort().values
        split = split_rows(len(others), fractions, seed + i + 1)
        found.append({"held_out": rows[held_out], **{name: rows[others[chosen]] for name, chosen in split.items()}})
    return found
