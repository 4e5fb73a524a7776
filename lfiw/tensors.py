"""Arrays and lists of any origin as tensors: what is not numbers, or is masked, is refused by name."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from lfiw.errors import InputError

# a vector as users have it: a tensor, an array, a list, a column of a data frame
Vector = Shaped[Tensor, " _"] | Shaped[np.ndarray, " _"] | Sequence[float]
Samples = Shaped[Tensor, "_ ..."] | Shaped[np.ndarray, "_ ..."]
# a vector, or several side by side
Columns = Shaped[Tensor, "_ *_"] | Shaped[np.ndarray, "_ *_"] | Sequence[float] | Sequence[Sequence[float]]

# kind of a NumPy type → what it is, and what to do about it
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
    """Copies an array into a tensor: native byte order, contiguous, writable, not shared with a file or buffer.

    Element types stay as they are, except that long doubles become float64.

    Args:
        name: of the array, in messages.

    Raises:
        InputError: the elements are not real numbers or booleans, or some are masked.
    """
    check_numbers(array, name)
    with np.errstate(over="ignore"):
        return torch.from_numpy(np.array(array, dtype=native(array.dtype), order="C"))


def as_tensor(values: Any, name: str) -> Tensor:
    """Returns a tensor as it is, and whatever else numpy reads as numbers as a new one (`to_tensor`).

    Raises:
        InputError: as `to_tensor`, or the rows are not of one length.
    """
    if isinstance(values, Tensor):
        return values
    try:
        array = np.asanyarray(values)
    except ValueError:
        raise InputError(f"{name} cannot be read as an array: give numbers, in rows of one length") from None
    return to_tensor(array, name)


def check_tensor(values: Any, name: str) -> None:
    """Raises InputError for what is no tensor: batches of metrics lie on the metric's device."""
    if not isinstance(values, Tensor):
        raise InputError(f"{name} came as {type(values).__name__}, expected a tensor: torch.as_tensor makes one")


def plain_array(values: Any, name: str) -> np.ndarray:
    """Returns numpy's array of whatever it takes, without silently uncovering masked elements.

    Raises:
        InputError: some elements are masked.
    """
    array = np.asanyarray(values)
    check_unmasked(array, name)
    return np.asarray(array)


def native(dtype: np.dtype) -> np.dtype:
    """Returns this machine's type with the same values."""
    return np.dtype(np.float64) if dtype.kind == "f" and dtype.itemsize > 8 else dtype.newbyteorder("=")


@runtime_checkable
class RowArray(Protocol):
    """What looks like an array and is read some rows at a time: one in memory, mapped, or columns of a file."""

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def ndim(self) -> int: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


def in_blocks(array: RowArray, rows: int = 4096) -> Iterator[np.ndarray]:
    """Yields an array's rows, some at a time."""
    return (array[start : start + rows] for start in range(0, len(array), rows))


def check_numbers(array: RowArray, name: str = "the array") -> None:
    """Raises InputError if an array has elements that are not real numbers, or masked ones."""
    if array.dtype.names:
        raise InputError(
            f"{name} is structured, with the fields {', '.join(array.dtype.names)}: save plain columns, "
            "numpy.lib.recfunctions.structured_to_unstructured(array)"
        )
    if array.dtype.kind in REFUSED:
        what, advice = REFUSED[array.dtype.kind]
        raise InputError(f"{name} holds {what} ({array.dtype}), expected numbers: {advice}")
    check_unmasked(array, name)


def check_unmasked(array: RowArray, name: str) -> None:
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise InputError(f"{name} has masked elements: fill them first, array.filled(value)")
