"""Class labels beside samples."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from lfiw.data.arrays import check_numbers
from lfiw.errors import InputError

LABEL_KEYS = ("labels", "label", "targets", "y")


@dataclass(frozen=True)
class Labels:
    """Classes of samples.

    Attributes:
        name: of the array that they come from.
        values: one for each sample, from 0.
        note: what they were, if not whole numbers (N,).
    """

    name: str
    values: Int64[Tensor, " n"]
    note: str


def find_labels(arrays: Mapping[str, np.ndarray], chosen: str, rows: int) -> tuple[Labels | None, dict[str, str]]:
    """The first array of a usual name that holds classes, and why those before it do not: name → reason."""
    refused: dict[str, str] = {}
    for key in LABEL_KEYS:
        for name in (name for name in arrays if name.lower() == key and name != chosen):
            try:
                return read_labels(name, arrays[name], rows), refused
            except InputError as error:
                refused[name] = str(error)
    return None, refused


def read_labels(name: str, array: np.ndarray, rows: int) -> Labels:
    """Whole numbers from 0 of any type, (N,) or (N, 1), or one-hot rows (N, K).

    Raises:
        InputError: with the reason alone, if they are anything else.
    """
    check_numbers(array, "it")
    if array.shape[:1] != (rows,) or array.ndim > 2 or 0 in array.shape:
        raise InputError(f"{array.dtype} {array.shape}: expected one class for each of {rows:,} samples")
    note = "" if array.dtype.kind in "iu" else f"{array.dtype} of whole numbers"
    if array.ndim == 2 and array.shape[1] > 1:
        if not (np.isin(array, (0, 1)).all() and (np.count_nonzero(array, axis=1) == 1).all()):
            raise InputError(f"{array.dtype} {array.shape}: neither one class for each sample nor one-hot rows")
        return Labels(name, torch.from_numpy(array.argmax(1).astype(np.int64)), f"one-hot of {array.shape[1]}")
    values = array.reshape(rows)
    if not (np.isfinite(values).all() and (values == np.rint(values)).all()):
        raise InputError(f"{array.dtype}, not all whole numbers")
    if values.min() < 0 or values.max() > np.iinfo(np.int64).max // 2:
        raise InputError(f"from {values.min()} to {values.max()}, expected classes from 0")
    return Labels(name, torch.from_numpy(values.astype(np.int64)), note)
