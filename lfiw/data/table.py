"""Tables of samples: aligned columns, of which some rows are read at a time."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, SupportsIndex, overload, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from lfiw.errors import InputError
from lfiw.tensors import as_tensor

GROUP = "group"  # the column of group numbers: rows of one group stay together
WEIGHT = "weight"  # the column of the rows' weights
ROW = "row"  # the column of row numbers in the table that the rows come from
Rows = slice | Tensor | np.ndarray | Sequence[int]


@dataclass(frozen=True)
class Column:
    """Element type and shape of one row, and the stamp of what computed the column (empty for a base column)."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    stamp: dict[str, Any] = field(default_factory=dict)


@runtime_checkable
class Table(Protocol):
    """Rows are samples, columns are aligned tensors of shape (rows, …)."""

    @property
    def columns(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def column(self, name: str) -> Column: ...

    @overload
    def __getitem__(self, key: str) -> Tensor: ...

    @overload
    def __getitem__(self, key: Rows | SupportsIndex) -> dict[str, Tensor]: ...

    def read(self, rows: Rows, columns: Sequence[str]) -> dict[str, Tensor]: ...

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]: ...


class TensorTable:
    """A table whose columns are tensors in memory; they are not copied.

    Args:
        columns: name → (rows, …), all of the same length.
        name: in messages. If it is another table's, the column `row` holds the row numbers there.

    Raises:
        InputError: there is no column or no row, or lengths differ.
    """

    def __init__(self, columns: Mapping[str, Tensor], name: str = "in memory") -> None:
        sizes = {name: len(values) if values.ndim else 0 for name, values in columns.items()}
        if not sizes or min(sizes.values()) < 1 or len(set(sizes.values())) > 1:
            raise InputError(f"a table needs columns of one length, at least one row; rows here: {sizes}")
        self.name = name
        self._columns = dict(columns)
        self._num_rows = next(iter(sizes.values()))

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self._columns)

    def __len__(self) -> int:
        return self._num_rows

    def column(self, name: str) -> Column:
        values = self[name]
        return Column(name, values.dtype, tuple(values.shape[1:]))

    @overload
    def __getitem__(self, key: str) -> Tensor: ...

    @overload
    def __getitem__(self, key: Rows | SupportsIndex) -> dict[str, Tensor]: ...

    def __getitem__(self, key: str | Rows | SupportsIndex) -> Tensor | dict[str, Tensor]:
        """Returns a column by name, or rows by index, slice or list of indices: name → (rows, …), copied."""
        if isinstance(key, str):
            if key not in self._columns:
                raise no_such_column(key, self.columns)
            return self._columns[key]
        if isinstance(key, SupportsIndex) and not isinstance(key, (Tensor, np.ndarray)):
            return {name: values[0] for name, values in self.read([operator.index(key)], self.columns).items()}
        return self.read(key, self.columns)

    def read(self, rows: Rows, columns: Sequence[str]) -> dict[str, Tensor]:
        """Reads rows of the named columns: name → (rows, …)."""
        values = {name: self[name] for name in columns}
        if isinstance(rows, slice):
            start, stop = row_range(rows, len(self))
            return {name: column[start:stop].clone() for name, column in values.items()}
        index = row_index(rows, len(self))
        return {name: column.index_select(0, to_device(index, column.device)) for name, column in values.items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Reads one batch for a `torch.utils.data.DataLoader` whose `collate_fn` returns its argument."""
        return self.read(indices, self.columns)


def table_name(table: Table) -> str:
    """Returns what messages call a table: its URL, its folder, or its name in memory."""
    return str(getattr(table, "url", None) or getattr(table, "path", None) or getattr(table, "name", "in memory"))


def row_index(rows: Tensor | np.ndarray | Sequence[int], num_rows: int) -> Int64[Tensor, " n"]:
    """Returns row numbers as a tensor on the CPU.

    Raises:
        InputError: they are not a list of whole numbers, or one is outside 0 … num_rows − 1.
    """
    try:
        index = as_tensor(rows, "rows")
    except (TypeError, ValueError):
        raise InputError("rows are not a list of whole numbers") from None
    if index.shape == (0,):
        return torch.empty(0, dtype=torch.int64)
    if index.ndim != 1 or index.is_floating_point() or index.is_complex() or index.dtype == torch.bool:
        raise InputError(
            f"rows are {index.dtype} of shape {tuple(index.shape)}, expected whole numbers in one dimension "
            "(for a mask, give mask.nonzero().squeeze(1))"
        )
    index = index.to("cpu", torch.int64)
    low, high = torch.aminmax(index)
    if low < 0 or high >= num_rows:
        wrong = int(low) if low < 0 else int(high)
        raise InputError(f"row {wrong:,} does not exist: the table has rows 0 to {num_rows - 1:,}")
    return index


def row_range(rows: slice, num_rows: int) -> tuple[int, int]:
    """Returns (start, stop) of a slice without a step.

    Raises:
        InputError: the slice has a step, or its ends are not whole numbers.
    """
    try:
        start, stop, step = rows.indices(num_rows)
    except (TypeError, ValueError):
        raise InputError(f"{rows} does not select rows: its ends must be whole numbers") from None
    if step != 1:
        raise InputError(f"{rows} has a step: give torch.arange(start, stop, step) instead")
    return start, max(start, stop)


def no_such_column(name: str, columns: Sequence[str]) -> InputError:
    return InputError(f"no column {name!r}: the table has {', '.join(columns)}")


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Copies from the CPU without waiting for what a GPU has still to do; from ordinary memory, for small tensors.

    On Apple's GPUs it waits: there, such copies may hold what the memory holds later.
    """
    return values.to(device, non_blocking=device.type == "cuda")


def has_float64(device: torch.device) -> bool:
    """Whether a device computes in float64: Apple's GPUs do not."""
    return device.type != "mps"


def in_float64(values: Tensor) -> Tensor:
    """Converts to float64, on the CPU if the device has none."""
    return (values if has_float64(values.device) else values.cpu()).double()
