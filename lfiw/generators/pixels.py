"""What a generator of unknown habits returns → uint8 images; the value range is found once, told and enforced."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from lfiw.data.importers.pixels import OVERSHOOT, RANGES, Pixels, find_axes, find_range, rows_first
from lfiw.errors import InputError, first_line

WITH_NUMPY = (torch.float32, torch.float64)  # floats that are taken as they are


class DetectedPixels:
    """Layout and value range of a first batch, applied to all.

    Args:
        name: of the generator, in messages.
        layout: as `--layout`; none: detected by the shape.
        value_range: "unit", "signed" or "byte"; none: detected by the values.
    """

    def __init__(self, name: str, first: Any, layout: str | None, value_range: str | None) -> None:
        self.name, self._layout = name, layout
        values = as_array(name, first)
        try:
            values, layout = rows_first(values, layout)
            if values.ndim not in (3, 4) or values.size == 0:
                raise InputError(f"shape {values.shape}: expected images (n, c, h, w), (n, h, w, c) or (n, h, w)")
            axes, layout_note = find_axes(values.shape, layout)
            found = find_range(values, value_range)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        self._range, self._shape, self._dtype = found.name, values.shape[1:], values.dtype
        self._pixels = Pixels(axes, *RANGES[found.name])
        self._batches = self._clamped = 0
        later = (
            f"; in later batches too, up to {OVERSHOOT:.0%} outside it are clamped" if values.dtype.kind == "f" else ""
        )
        self.detected = (layout_note, found.note + later)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was detected, and what was clamped since."""
        clamped = f"{self._clamped:,} values in {self._batches:,} batches were outside the range, clamped"
        return (*self.detected, clamped) if self._clamped else self.detected

    def read(self, batch: Any) -> UInt8[Tensor, "n c h w"]:
        """Raises InputError where a later batch is not like the first."""
        self._batches += 1
        values = as_array(self.name, batch)
        if values.ndim == len(self._shape) + 1:
            values, _ = rows_first(values, self._layout)
        if values.shape[1:] != self._shape or values.dtype != self._dtype:
            raise InputError(
                f"{self.name}: batch {self._batches} is {values.dtype} {values.shape}, the first one was {self._dtype} "
                f"(n, {', '.join(map(str, self._shape))}): all must be alike"
            )
        if len(values):
            try:
                self._clamped += find_range(values, self._range).clamped
            except InputError as error:
                low, high = RANGES[self._range]
                raise InputError(
                    f"{self.name}: batch {self._batches} contradicts the range [{low:g}, {high:g}] of the first one: "
                    f"{error}"
                ) from None
        return self._pixels.read(values)


def as_array(name: str, batch: Any) -> np.ndarray:
    """Raises InputError for what is no array."""
    if isinstance(batch, np.ndarray):
        return batch
    if not isinstance(batch, Tensor):
        raise InputError(f"{name}: returned {type(batch).__name__}, expected a tensor or array of images")
    batch = batch.detach().cpu()
    try:
        return (batch.float() if batch.dtype not in WITH_NUMPY and batch.is_floating_point() else batch).numpy(
            force=True
        )
    except (RuntimeError, TypeError) as error:  # sparse, quantised, of a type without a counterpart
        raise InputError(f"{name}: returned a tensor that NumPy cannot hold ({first_line(error)})") from None


def check_rows(name: str, samples: Mapping[str, Tensor], num: int) -> None:
    """Raises InputError where a generator returns another number of samples than it was asked for."""
    for column, values in samples.items():
        if len(values) != num:
            raise InputError(f"{name}: returned {len(values)} rows of {column}, asked for {num}")
