"""The protocol of whatever can fill a cache, the numbering of its rows, and kernel density estimates."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor

from lfiw.data.batches import mix_seeds
from lfiw.data.cache.reader import SampleCache
from lfiw.data.importers import Imported
from lfiw.data.kernel_density import WhitenedDensity
from lfiw.data.table import Table
from lfiw.errors import InputError


@runtime_checkable
class Generator(Protocol):
    """Draws samples; `lfiw.data.importers.Imported` is one whose samples are recorded.

    Attributes:
        source: provenance for a cache's manifest: what it is, the SHA-256 of its weights, options.
        notes: what was detected or decided so far, one line each, to report to the user.
        num_rows: number of recorded samples. If None, any number can be drawn.
        rows_per_seed: samples per seed, unless it is an `EachFromItsOwn`.
    """

    @property
    def source(self) -> dict[str, Any]: ...

    @property
    def rows_per_seed(self) -> int: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    @property
    def num_rows(self) -> int | None: ...

    def sample(
        self, num: int, generator: torch.Generator, labels: Int64[Tensor, " num"] | None = None
    ) -> dict[str, Tensor]:
        """Draws `image`, uint8 (num, c, h, w), or `vector`, float32 (num, d), and any other columns."""
        ...


@runtime_checkable
class EachFromItsOwn(Protocol):
    """A generator that draws each sample from its own `torch.Generator`, whatever the batch."""

    num_rows: int | None = None
    rows_per_seed: int = 1

    def sample(
        self, num: int, generator: torch.Generator, labels: Int64[Tensor, " num"] | None = None
    ) -> dict[str, Tensor]:
        return self.sample_each([generator] * num, labels)

    def sample_each(
        self, generators: Sequence[torch.Generator], labels: Int64[Tensor, " n"] | None = None
    ) -> dict[str, Tensor]: ...


def candidates(generator: Generator, size: int, seeds: torch.Generator) -> Iterator[dict[str, Tensor]]:
    """Yields endless batches of samples; recorded samples come once each, in order."""
    if isinstance(generator, Imported):
        yield from generator.blocks(size)
        return
    while True:
        yield generator.sample(size, seeds)


def sample_rows(generator: Generator, start: int, stop: int, *, seed: int, classes: int = 0) -> dict[str, Tensor]:
    """Returns samples start, …, stop − 1 of a seed, which depend on seed and number, not on the batch.

    A recorded sample is the file's row. An `EachFromItsOwn` draws each sample with the seed (seed, number). Other
    generators draw blocks of `rows_per_seed` samples with the seed (seed, block), which are then cut.

    Args:
        classes: if above 0, the generator gets the class i mod classes for sample i, saved in the column `label`.
    """
    if isinstance(generator, Imported):
        if classes:
            raise InputError("these samples are there already: --classes goes with generators that take labels")
        return generator.read(start, stop)
    if isinstance(generator, EachFromItsOwn):
        generators = [torch.Generator().manual_seed(mix_seeds(seed, row)) for row in range(start, stop)]
        labels = torch.arange(start, stop) % classes if classes else None
        return with_labels(generator.sample_each(generators, labels), labels)
    size = generator.rows_per_seed
    blocks = []
    for block in range(start // size, (stop - 1) // size + 1):
        first = block * size
        labels = torch.arange(first, first + size) % classes if classes else None
        drawn = generator.sample(size, torch.Generator().manual_seed(mix_seeds(seed, block)), labels)
        rows = slice(max(start - first, 0), min(stop - first, size))
        blocks.append({name: values[rows] for name, values in with_labels(drawn, labels).items()})
    return {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}


def with_labels(samples: dict[str, Tensor], labels: Tensor | None) -> dict[str, Tensor]:
    return samples if labels is None or "label" in samples else {**samples, "label": labels}


class KernelDensityGenerator:
    """A Gaussian kernel density estimate of the images of a table, in their whitened principal components.

    Args:
        real: table with the column `image`.
        bandwidth: in standard deviations.
        max_rows: fit at most this many of the first rows.
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


def open_kernel_density(cache: str, bandwidth: float) -> KernelDensityGenerator:
    return KernelDensityGenerator(SampleCache(cache), bandwidth=bandwidth)
