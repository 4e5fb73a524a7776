"""The precision that vectors need: float32 where it rounds little, float64 elsewhere, and where that is too coarse."""

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from lfiw.errors import InputError
from lfiw.tensors import RowArray, in_blocks

PRECISION = 1e-6  # of a column's spread: rounding that vectors may suffer
EXACT = 2**53  # whole numbers up to here are exact in float64


def exact_float64(values: Shaped[Tensor, "n *d"], name: str) -> Shaped[Tensor, "n *d"]:
    """Returns numbers of a data frame or an array as float64, if that keeps them.

    Raises:
        InputError: whole numbers above 2⁵³ with so little spread that float64 would round it away.
    """
    if values.dtype in (torch.int64, torch.uint64):
        try:
            precision_needed(values.reshape(len(values), -1).numpy())
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
    return values.double()


def precision_needed(samples: RowArray) -> type[np.floating]:
    """Returns float32 where it rounds every column by at most a millionth of the column's spread, otherwise float64.

    Raises:
        InputError: float64 would round a column by more than that (whole numbers above 2⁵³, longdouble).
    """
    if np.can_cast(samples.dtype, np.float32):
        return np.float32
    (start,) = samples[0:1]
    first = start.astype(np.float64)
    largest, rounding, total, squares = (np.zeros(samples.shape[1]) for _ in range(4))
    constant = np.ones(samples.shape[1], dtype=bool)
    for block in in_blocks(samples):
        wide = block.astype(np.float64)
        largest = np.maximum(largest, np.abs(wide).max(0))
        rounding = np.maximum(rounding, np.abs(wide - wide.astype(np.float32)).max(0))
        constant &= (block == start).all(0)
        shifted = wide - first  # squares of values far from zero would lose their spread
        total += shifted.sum(0)
        squares += np.square(shifted).sum(0)
    mean = total / len(samples)
    spread = np.sqrt(np.maximum(squares / len(samples) - mean**2, 0))
    wider = samples.dtype.itemsize > 8 or (samples.dtype.kind in "iu" and largest.max() > EXACT)
    if wider:
        lost = ~constant & (np.finfo(np.float64).eps / 2 * largest > PRECISION * spread)
        if lost.any():
            j = int(lost.argmax())
            raise InputError(
                f"number {j} of the vectors lies near {first[j] + mean[j]:.6g} with a spread of about {spread[j]:.2g}, "
                f"finer than float64 can hold there: subtract {start[j]} from it on both sides, as {samples.dtype}"
            )
    return np.float32 if (rounding <= PRECISION * spread).all() else np.float64
