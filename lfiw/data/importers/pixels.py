"""Arrays of images → uint8 (N, C, H, W): which axis is which, and which value is black."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from lfiw.errors import InputError

CHANNELS = (1, 3, 4)
LAYOUTS = {"nchw": (0, 1, 2, 3), "nhwc": (0, 3, 1, 2)}  # → order of axes that gives (N, C, H, W)
RANGES = {"unit": (0.0, 1.0), "signed": (-1.0, 1.0), "byte": (0.0, 255.0)}
SLACK = 1e-5  # of the range: what float arithmetic may overshoot; clamped


@dataclass(frozen=True)
class Pixels:
    """How an array of images is read: the order of its axes and the values that are black and white."""

    axes: tuple[int, ...] | None  # None: (N, H, W), one channel
    low: float
    high: float

    def read(self, block: np.ndarray) -> UInt8[Tensor, "n c h w"]:
        """Images as bytes, rounded to the nearest."""
        images = torch.from_numpy(np.array(block))
        images = images.unsqueeze(1) if self.axes is None else images.permute(self.axes)
        if images.dtype == torch.uint8:
            return images.contiguous()
        wide = images.double() if images.dtype == torch.float64 else images.float()
        return ((wide - self.low) * (255 / (self.high - self.low))).round_().clamp_(0, 255).to(torch.uint8).contiguous()


def find_axes(shape: tuple[int, ...], layout: str | None) -> tuple[tuple[int, ...] | None, str]:
    """Order of axes that gives (N, C, H, W) and a line that says so.

    Args:
        layout: "nchw", "nhwc", or None to detect it: channels are the axis of 1, 3 or 4.

    Raises:
        InputError: both layouts are possible or none is, or the given one does not fit.
    """
    if len(shape) == 3:
        if layout is not None:
            raise InputError(f"shape {shape} is read as (N, H, W) with one channel: leave out --layout {layout}")
        return None, f"layout NHW, one channel, by its shape {shape}"
    possible = [name for name, axes in LAYOUTS.items() if shape[axes[1]] in CHANNELS]
    if layout is None:
        if len(possible) != 1:
            reason = "both the second and the last" if possible else "neither the second nor the last"
            raise InputError(f"shape {shape}: {reason} axis can be channels (1, 3 or 4): give --layout nchw or nhwc")
        return LAYOUTS[possible[0]], f"layout {possible[0].upper()}, detected by its shape {shape}"
    if layout not in possible:
        raise InputError(f"shape {shape} is not {layout.upper()}: it would have {shape[LAYOUTS[layout][1]]} channels")
    return LAYOUTS[layout], f"layout {layout.upper()} as given, shape {shape}"


def find_range(blocks: Iterator[np.ndarray], dtype: np.dtype, name: str | None) -> tuple[float, float, str]:
    """The values that are black and white, and a line that says so.

    Args:
        blocks: all values.
        name: one of `RANGES`, or None to detect it: bytes are kept, integers are 0 to 255, floats [0, 1] or [-1, 1].

    Raises:
        InputError: a value is not finite or outside the range, or the type is not one of numbers.
    """
    if dtype == np.uint8:
        if name not in (None, "byte"):
            raise InputError(f"the values are bytes (uint8), which are kept as they are: leave out --range {name}")
        return 0.0, 255.0, "values uint8, kept as they are"
    if dtype.kind not in "iuf":
        raise InputError(f"the values are {dtype}, expected uint8, integers or floats: convert them first")
    least, most = extremes(blocks)
    if name is None:
        name = "byte" if dtype.kind in "iu" else "unit" if least >= -SLACK else "signed"
        how = "detected"
    else:
        how = "as given"
    low, high = RANGES[name]
    slack = SLACK * (high - low)
    found = f"{least:.6g} to {most:.6g}"
    if least < low - slack or most > high + slack:
        raise InputError(
            f"the values go from {found}, outside [{low:g}, {high:g}]: give --range unit ([0, 1]), signed ([-1, 1]) or "
            "byte ([0, 255]), or rescale them"
        )
    return low, high, f"values {dtype} in [{low:g}, {high:g}], {how} (found {found}), rounded to uint8"


def extremes(blocks: Iterator[np.ndarray]) -> tuple[float, float]:
    """Smallest and largest value.

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
