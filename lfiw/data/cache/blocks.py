"""Blocks of rows collected into pieces of one size."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lfiw.data.cache.dtypes import dtype_name
from lfiw.data.cache.manifest import MAX_AXES, Layout
from lfiw.errors import InputError

SHARD_BYTES = 64 << 20


class RowBuffer:
    """Memory for `capacity` rows of some columns; blocks are copied in, so callers may use theirs again."""

    def __init__(self, layouts: Mapping[str, Layout], capacity: int) -> None:
        self.capacity = capacity
        self.filled = 0
        self._columns = {name: torch.empty((capacity, *shape), dtype=dtype) for name, (dtype, shape) in layouts.items()}

    def put(self, block: Mapping[str, Tensor], start: int) -> int:
        """Copies rows of a block from `start` on, as many as there is space for → their number."""
        size = min(len(next(iter(block.values()))) - start, self.capacity - self.filled)
        for name, column in self._columns.items():
            column[self.filled : self.filled + size].copy_(block[name][start : start + size].detach())
        self.filled += size
        return size

    def take(self) -> dict[str, Tensor]:
        """What was collected, until the next `put`: name → (rows, …)."""
        filled, self.filled = self.filled, 0
        return {name: column[:filled] for name, column in self._columns.items()}


def layouts_of(block: Mapping[str, Tensor]) -> dict[str, Layout]:
    """Element type and shape of one row for each column.

    Raises:
        InputError: no column, lengths that differ, or a type or shape that a cache cannot hold.
    """
    if not block:
        raise InputError("a block without columns: give a mapping from column name to tensor")
    for name, values in block.items():
        if values.ndim < 1 or values.ndim > MAX_AXES + 1 or 0 in values.shape[1:]:
            raise InputError(
                f"{name} has shape {tuple(values.shape)}: expected (rows, …), at most {MAX_AXES} more axes, none empty"
            )
        dtype_name(values.dtype)
    lengths = {name: len(values) for name, values in block.items()}
    if len(set(lengths.values())) != 1:
        raise InputError(f"the columns of a block have different numbers of rows: {lengths}")
    return {name: (values.dtype, tuple(values.shape[1:])) for name, values in block.items()}


def check_same_layouts(what: str, found: Mapping[str, Layout], expected: Mapping[str, Layout]) -> None:
    """Blocks of one table are alike.

    Raises:
        InputError: `found` differs from `expected`.
    """
    if dict(found) != dict(expected):
        raise InputError(f"{what} has {show(found)}, expected {show(expected)}: all blocks must be alike")


def show(layouts: Mapping[str, Layout]) -> str:
    return ", ".join(f"{name} {dtype_name(dtype)} {list(shape)}" for name, (dtype, shape) in layouts.items())


def row_bytes(layouts: Mapping[str, Layout]) -> int:
    return sum(dtype.itemsize * torch.Size(shape).numel() for dtype, shape in layouts.values())


def rows_per_shard(layouts: Mapping[str, Layout], shard_bytes: int) -> int:
    return max(1, shard_bytes // row_bytes(layouts))
