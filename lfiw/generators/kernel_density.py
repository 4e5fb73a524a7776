"""A kernel density estimate as a generator: fitted in a moment, biased by whatever it is fitted to."""

from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from lfiw.data.table import Table
from lfiw.errors import InputError
from lfiw.kernel_density import WhitenedDensity


class KernelDensityGenerator:
    """A Gaussian kernel density estimate of the images of a table, in their whitened principal components.

    Args:
        real: table with the column `image`.
        bandwidth: as `sample_kernel_density`.
        max_rows: as many of the first rows are fitted.
    """

    num_rows = None

    def __init__(self, real: Table, *, bandwidth: float, max_rows: int = 5000, rows_per_seed: int = 1000) -> None:
        if not bandwidth > 0:
            raise InputError(f"bandwidth {bandwidth:g}: expected above 0, in standard deviations")
        self.rows_per_seed = rows_per_seed
        images = real.read(slice(0, max_rows), ["image"])["image"]
        if len(images) < 2:
            raise InputError(f"a kernel density needs at least 2 images, got {len(images)}")
        self.shape = images.shape[1:]
        self._density = WhitenedDensity(images.flatten(1).double(), bandwidth)
        self.source: dict[str, Any] = {
            "generator": "kernel density", "bandwidth": bandwidth, "rows": len(images),
            "fitted_to": getattr(real, "identity", None), "rows_per_seed": rows_per_seed,
        }  # fmt: skip
        self.notes: tuple[str, ...] = (f"fitted to {len(images):,} images, bandwidth {bandwidth:g}, rounded to uint8",)

    def sample(
        self, num: int, generator: torch.Generator, labels: Int64[Tensor, " num"] | None = None
    ) -> dict[str, Tensor]:
        if labels is not None:
            raise InputError("a kernel density takes no labels: leave out --classes")
        seed = int(torch.randint(2**31, (1,), generator=generator))
        pixels = self._density.sample(num, seed).round().clamp(0, 255).to(torch.uint8)
        return {"image": pixels.view(num, *self.shape)}
