"""What a generator of unknown habits returns → uint8 images; the value range is found once, told and enforced."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from lfiw.data.importers.pixels import SLACK, Pixels, extremes, find_axes, find_range
from lfiw.errors import InputError


class DetectedPixels:
    """Layout and value range of a first batch, applied to all.

    Args:
        name: of the generator, in messages.
        layout: "nchw" or "nhwc"; none: detected by the shape.
        value_range: "unit", "signed" or "byte"; none: detected by the values.
    """

    def __init__(self, name: str, first: Any, layout: str | None, value_range: str | None) -> None:
        self.name = name
        values = as_array(name, first)
        try:
            if values.ndim not in (3, 4):
                raise InputError(f"shape {values.shape}: expected images (n, c, h, w), (n, h, w, c) or (n, h, w)")
            axes, layout_note = find_axes(values.shape, layout)
            low, high, range_note = find_range(iter([values]), values.dtype, value_range)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        self.notes = (layout_note, range_note)
        self._pixels, self._shape, self._dtype = Pixels(axes, low, high), values.shape[1:], values.dtype

    def read(self, batch: Any) -> UInt8[Tensor, "n c h w"]:
        """Raises InputError where a later batch is not like the first."""
        values = as_array(self.name, batch)
        if values.shape[1:] != self._shape or values.dtype != self._dtype:
            raise InputError(
                f"{self.name}: a batch is {values.dtype} {values.shape}, the first one was {self._dtype} (n, "
                f"{', '.join(map(str, self._shape))}): all must be alike"
            )
        if values.dtype != np.uint8 and len(values):
            least, most = extremes(iter([values]))
            low, high = self._pixels.low, self._pixels.high
            slack = SLACK * (high - low)
            if least < low - slack or most > high + slack:
                raise InputError(
                    f"{self.name}: a batch has values from {least:.6g} to {most:.6g}, outside [{low:g}, {high:g}] of "
                    "the first one: give --range"
                )
        return self._pixels.read(values)


def as_array(name: str, batch: Any) -> np.ndarray:
    """Raises InputError for what is no array."""
    if isinstance(batch, Tensor):
        batch = batch.detach().cpu()
        return (batch.float() if batch.dtype in (torch.bfloat16, torch.float16) else batch).numpy()
    if isinstance(batch, np.ndarray):
        return batch
    raise InputError(f"{name}: returned {type(batch).__name__}, expected a tensor or array of images")


def check_rows(name: str, samples: Mapping[str, Tensor], num: int) -> None:
    """Raises InputError where a generator returns another number of samples than it was asked for."""
    for column, values in samples.items():
        if len(values) != num:
            raise InputError(f"{name}: returned {len(values)} rows of {column}, asked for {num}")
