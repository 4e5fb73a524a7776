"""Arrays of images → uint8 (N, C, H, W): which axis is which, and which value is black."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from lfiw.errors import InputError
from lfiw.tensors import RowArray, check_numbers, in_blocks, to_tensor

CHANNELS = (1, 3, 4)
LAYOUTS = {"nchw": (0, 1, 2, 3), "nhwc": (0, 3, 1, 2)}  # → order of axes that gives (N, C, H, W)
RANGES = {"unit": (0.0, 1.0), "signed": (-1.0, 1.0), "byte": (0.0, 255.0)}
SLACK = 1e-5  # of the range: what float arithmetic may overshoot, not worth a word
OVERSHOOT = 0.05  # of the range: what resizing may overshoot; clamped and reported
SIGNED_FROM = -0.5  # floats that go as low as this are in [-1, 1]; those between it and an overshoot could be either


@dataclass(frozen=True)
class Pixels:
    """How an array of images is read: the order of its axes and the values that are black and white."""

    axes: tuple[int, ...] | None  # None: (N, H, W), one channel
    low: float
    high: float

    def read(self, block: np.ndarray) -> UInt8[Tensor, "n c h w"]:
        """Images as bytes, rounded to the nearest."""
        images = to_tensor(block)
        images = images.unsqueeze(1) if self.axes is None else images.permute(self.axes)
        if images.dtype == torch.uint8 and (self.low, self.high) == RANGES["byte"]:
            return images.contiguous()
        wide = images.double() if images.dtype == torch.float64 else images.float()
        return ((wide - self.low) * (255 / (self.high - self.low))).round_().clamp_(0, 255).to(torch.uint8).contiguous()


@dataclass(frozen=True)
class FoundRange:
    """The value range of some images.

    Attributes:
        name: of `RANGES`.
        note: a line that says what was found.
        clamped: values outside the range.
    """

    name: str
    note: str
    clamped: int = 0


def rows_first(samples: np.ndarray, layout: str | None) -> tuple[np.ndarray, str | None]:
    """Moves the axis of samples to the front of (H, W, C, N), as MATLAB has it → a view and its layout."""
    if layout != "hwcn":
        return samples, layout
    if samples.ndim != 4 or samples.shape[2] not in CHANNELS:
        raise InputError(f"shape {samples.shape} is not HWCN: the third of four axes would be 1, 3 or 4 channels")
    return np.moveaxis(samples, 3, 0), "nhwc"


def find_axes(shape: tuple[int, ...], layout: str | None) -> tuple[tuple[int, ...] | None, str]:
    """Finds the order of axes that gives (N, C, H, W) and a line that says so.

    Args:
        layout: "nchw", "nhwc", "nhw", or None to detect it: channels are the axis of 1, 3 or 4.

    Raises:
        InputError: both layouts are possible or none is, or the given one does not fit.
    """
    if len(shape) == 3:
        if layout not in (None, "nhw"):
            raise InputError(f"shape {shape} is read as (N, H, W) with one channel: leave out --layout {layout}")
        if layout is None and shape[-1] in CHANNELS:
            raise InputError(
                f"shape {shape}: one image with {shape[-1]} channels, or {shape[0]} of one channel? Save one image as "
                "array[None]; give --layout nhw for (N, H, W)"
            )
        return None, f"layout NHW, one channel, by its shape {shape}"
    possible = [name for name, axes in LAYOUTS.items() if shape[axes[1]] in CHANNELS]
    if layout is None:
        if not possible and shape[2] in CHANNELS:
            raise InputError(f"shape {shape}: give --layout hwcn if it is (H, W, C, N), as MATLAB keeps images")
        if not possible:
            raise InputError(
                f"shape {shape}: neither the second nor the last axis can be channels (1, 3 or 4): save (N, C, H, W) "
                "with such a C"
            )
        if len(possible) > 1:
            raise InputError(
                f"shape {shape}: both the second and the last axis can be channels (1, 3 or 4): give --layout nchw or "
                "nhwc"
            )
        return LAYOUTS[possible[0]], f"layout {possible[0].upper()}, detected by its shape {shape}"
    if layout not in possible:
        there = f"it would have {shape[LAYOUTS[layout][1]]} channels" if layout in LAYOUTS else "it has four axes"
        raise InputError(f"shape {shape} is not {layout.upper()}: {there}")
    return LAYOUTS[layout], f"layout {layout.upper()} as given, shape {shape}"


def find_range(values: RowArray, name: str | None) -> FoundRange:
    """Finds the value range of images; values that overshoot it by at most `OVERSHOOT` are to be clamped.

    Args:
        name: one of `RANGES`, or None to detect it, see `guess_range`; bytes are kept.

    Raises:
        InputError: a value is not finite or outside the range, several ranges are possible, or the type is not one of
            numbers.
    """
    check_numbers(values, "the array")
    if values.dtype.kind not in "iuf":
        raise InputError("the values are bool, expected uint8, integers or floats: save array.astype('float32')")
    if values.dtype == np.uint8 and name in (None, "byte"):
        if name is None and max(int(block.max(initial=0)) for block in in_blocks(values)) == 1:
            raise zero_or_one("uint8")
        return FoundRange("byte", "values uint8, kept as they are")
    least, most = extremes(in_blocks(values))
    how = "detected" if name is None else "as given"
    name = name or guess_range(least, most, values.dtype)
    low, high = RANGES[name]
    if not holds(name, least, most, values.dtype):
        raise InputError(
            f"the values go from {least:.6g} to {most:.6g}, outside [{low:g}, {high:g}]: "
            f"{advice(least, most, values.dtype)}"
        )
    note = f"values {values.dtype} in [{low:g}, {high:g}], {how} (found {least:.6g} to {most:.6g}), rounded to uint8"
    slack = SLACK * (high - low)
    if low - slack <= least and most <= high + slack:
        return FoundRange(name, note)
    clamped, first = outside(values, low - slack, high + slack)
    return FoundRange(name, f"{note}; {clamped:,} outside it clamped, the first in row {first:,}", clamped)


def guess_range(least: float, most: float, dtype: np.dtype) -> str:
    """Guesses a range by the values.

    Whole numbers are 0 to 255. Floats are in [0, 1] if none is negative but for an overshoot: what lies below 0 is at
    most `OVERSHOOT` of what lies above. They are in [-1, 1] if they go down to `SIGNED_FROM`.

    Raises:
        InputError: several are possible.
    """
    if dtype.kind in "iu":
        if least >= 0 and most == 1:  # black pictures are black either way
            raise zero_or_one(str(dtype))
        return "byte"
    if least >= -SLACK or -least <= OVERSHOOT * most:
        return "unit"
    if least > SIGNED_FROM and most <= 1 + OVERSHOOT:
        unit = "--range unit, which clamps" if holds("unit", least, most, dtype) else "numpy.clip(array, 0, 1)"
        raise InputError(
            f"the values go from {least:.6g} to {most:.6g}: are they in [-1, 1], or in [0, 1] and overshoot? Give "
            f"--range signed, or else {unit}"
        )
    return "signed"


def zero_or_one(dtype: str) -> InputError:
    return InputError(
        f"the values are whole numbers ({dtype}), none above 1: give --range unit if 1 is white, byte if 255 is"
    )


def holds(name: str, least: float, most: float, dtype: np.dtype) -> bool:
    """Says whether a range holds the values, but for what floats may overshoot."""
    low, high = RANGES[name]
    allowed = (OVERSHOOT + SLACK) * (high - low) if dtype.kind == "f" else 0
    return low - allowed <= least and most <= high + allowed


def advice(least: float, most: float, dtype: np.dtype) -> str:
    """Says what to do with values that a range does not hold."""
    possible = [
        f"{name} if they are in [{low:g}, {high:g}]"
        for name, (low, high) in RANGES.items()
        if holds(name, least, most, dtype) and (name != "byte" or (most > 1 and -least <= OVERSHOOT * most))
    ]
    return (f"give --range {' or '.join(possible)}, or " if possible else "") + "clip or rescale them to [0, 1] first"


def outside(values: RowArray, low: float, high: float) -> tuple[int, int]:
    """Counts the values outside, of which there is one, and finds the first row that has it."""
    counts = [
        np.count_nonzero(((block < low) | (block > high)).reshape(len(block), -1), axis=1)
        for block in in_blocks(values)
    ]
    by_row = np.concatenate(counts)
    return int(by_row.sum()), int(np.argmax(by_row > 0))


def extremes(blocks: Iterator[np.ndarray]) -> tuple[float, float]:
    """Finds the smallest and the largest value.

    Raises:
        InputError: one is not finite.
    """
    least, most = np.inf, -np.inf
    start = 0
    for block in blocks:
        low, high = float(block.min()), float(block.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            finite = np.isfinite(block).reshape(len(block), -1).all(1)
            raise InputError(f"row {start + int(np.argmin(finite)):,} holds NaN or infinity: expected finite values")
        least, most = min(least, low), max(most, high)
        start += len(block)
    return least, most
