"""Training rows that stay on the device: no batch crosses from the host, which reads and copies nothing per step."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lfiw.data.splits import Subset
from lfiw.data.table import ROW, TensorTable, table_name
from lfiw.errors import InputError

SHARE = 0.25  # of the device's free memory that rows may take unless the user decides
BLOCK = 8192  # rows read at a time


def is_resident(
    subsets: Sequence[Subset], columns: Sequence[str], device: torch.device, wanted: bool | None = None
) -> bool:
    """Whether columns are to be held on a device.

    Args:
        wanted: if None, on a CUDA GPU whose free memory is four times what they take.

    Raises:
        InputError: they are wanted there and do not fit.
    """
    if wanted is False or (wanted is None and device.type != "cuda"):
        return False
    needed, free = sum(num_bytes(subset, columns) for subset in subsets), free_bytes(device)
    if wanted and needed > free:
        raise InputError(
            f"data.device_resident=true: the training rows take {needed / 2**30:.3g} GiB, {device} has "
            f"{free / 2**30:.3g} GiB free: use data.device_resident=false"
        )
    return wanted or needed <= SHARE * free


def num_bytes(subset: Subset, columns: Sequence[str]) -> int:
    of = [subset.table.column(name) for name in columns]
    return len(subset) * sum(math.prod(column.shape) * column.dtype.itemsize for column in of)


def free_bytes(device: torch.device) -> float:
    """Free memory of a CUDA GPU; of other devices it is not known, and infinite here."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else math.inf


def resident(subset: Subset, columns: Sequence[str], device: torch.device) -> Subset:
    """The same rows, with some of their columns on a device, in the dtype that they have in the table."""
    of = [subset.table.column(name) for name in columns]
    held = {column.name: torch.empty((len(subset), *column.shape), dtype=column.dtype, device=device) for column in of}
    for positions in torch.arange(len(subset)).split(BLOCK):
        for name, values in subset.read(positions, columns).items():
            held[name][positions[0] : positions[-1] + 1] = values
    return Subset(
        TensorTable({**held, ROW: original_rows(subset)}, table_name(subset.table)), torch.arange(len(subset))
    )


def original_rows(subset: Subset) -> Tensor:
    """Row numbers in the table that a message names."""
    table = subset.table
    return table[ROW][subset.rows] if isinstance(table, TensorTable) and ROW in table.columns else subset.rows
