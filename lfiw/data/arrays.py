"""Where NumPy meets torch: arrays of any origin → tensors."""

import numpy as np
import torch
from torch import Tensor

from lfiw.errors import InputError

# kind of a NumPy type → what it is, and what can be done about it
REFUSED = {
    "c": ("complex numbers", "save their real part or their modulus"),
    "O": ("Python objects", "save an array of numbers"),
    "M": ("dates", "save them as numbers, array.astype('int64')"),
    "m": ("time differences", "save them as numbers, array.astype('int64')"),
    "S": ("bytes of text", "save numbers"),
    "U": ("text", "save numbers"),
    "T": ("text", "save numbers"),
    "V": ("raw bytes of no known type", "save them as float32"),
}


def to_tensor(array: np.ndarray, name: str = "the array") -> Tensor:
    """A copy that torch can hold: native byte order, contiguous, writable, shared with no file and no buffer.

    Element types stay as they are, but for long doubles, which become float64.

    Args:
        name: of the array, in messages.

    Raises:
        InputError: the elements are no real numbers or truth values, or some are masked.
    """
    check_numbers(array, name)
    with np.errstate(over="ignore"):
        return torch.from_numpy(np.array(array, dtype=native(array.dtype), order="C"))


def native(dtype: np.dtype) -> np.dtype:
    """The type of this machine that has the same values."""
    return np.dtype(np.float64) if dtype.kind == "f" and dtype.itemsize > 8 else dtype.newbyteorder("=")


def check_numbers(array: np.ndarray, name: str = "the array") -> None:
    """Raises InputError where an array has elements that are no real numbers, or masked ones."""
    if array.dtype.names:
        raise InputError(
            f"{name} is structured, with the fields {', '.join(array.dtype.names)}: save plain columns, "
            "numpy.lib.recfunctions.structured_to_unstructured(array)"
        )
    if array.dtype.kind in REFUSED:
        what, advice = REFUSED[array.dtype.kind]
        raise InputError(f"{name} holds {what} ({array.dtype}), expected numbers: {advice}")
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise InputError(f"{name} has masked elements: fill them first, array.filled(value)")
