"""The one protocol of whatever can fill a cache, how rows are numbered, and generators without a network."""

from collections.abc import Sequence
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
    """Draws samples.

    Attributes:
        source: provenance for a cache's manifest: what it is, the SHA-256 of its weights, options.
        notes: what was detected or decided so far, one line each, to be told to the user.
        num_rows: samples that there are, of a file of samples; none: any number can be drawn.
        rows_per_seed: of a generator without `sample_each`: samples that are drawn from one seed.
    """

    source: dict[str, Any]
    rows_per_seed: int

    @property
    def notes(self) -> tuple[str, ...]: ...

    @property
    def num_rows(self) -> int | None: ...

    def sample(
        self, num: int, generator: torch.Generator, labels: Int64[Tensor, " num"] | None = None
    ) -> dict[str, Tensor]:
        """`image`: uint8 (num, c, h, w), or `vector`: float32 (num, d); and whatever else belongs to a sample."""
        ...


@runtime_checkable
class EachFromItsOwn(Protocol):
    """A generator whose samples can each be drawn from a `torch.Generator` of their own, whatever the batch."""

    def sample_each(
        self, generators: Sequence[torch.Generator], labels: Int64[Tensor, " n"] | None = None
    ) -> dict[str, Tensor]: ...


@runtime_checkable
class Recorded(Protocol):
    """Samples that are there already: rows by number."""

    def read(self, start: int, stop: int) -> dict[str, Tensor]: ...


def sample_rows(generator: Generator, start: int, stop: int, *, seed: int, classes: int = 0) -> dict[str, Tensor]:
    """The samples number start, …, stop − 1 of a seed: a function of seed and number, not of who asks for how many.

    A recorded sample is the file's row. A sample of its own generator is drawn with the seed (seed, number). Of other
    generators a block of `rows_per_seed` numbers is drawn at once with the seed (seed, block), and cut.

    Args:
        classes: above 0, sample i is of class i mod classes, which the generator is told and the column `label` keeps.
    """
    if isinstance(generator, Recorded):
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


class RecordedSamples:
    """Rows of a file, a folder or another cache; `sample` takes some at random, with replacement.

    Args:
        rows: what was found, and how it is read.
    """

    rows_per_seed = 1

    def __init__(self, rows: Imported) -> None:
        self.source: dict[str, Any] = rows.source
        self.notes, self.num_rows = rows.notes, rows.num_rows
        self.read = rows.read

    def sample(
        self, num: int, generator: torch.Generator, labels: Int64[Tensor, " num"] | None = None
    ) -> dict[str, Tensor]:
        if labels is not None:
            raise InputError("these samples are there already: they cannot be asked for by label")
        rows = torch.randint(self.num_rows, (num,), generator=generator).tolist()
        parts = [self.read(row, row + 1) for row in rows]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def of_cache(cache: SampleCache) -> Imported:
    """The base columns of a cache."""
    source = {"cache": cache.path.name, "identity": cache.identity, "source": cache.source}
    return Imported(source, (f"all rows of {cache!r}",), len(cache), lambda start, stop: cache[start:stop])


class Candidates(Protocol):
    """A generator that can be asked for more. Fewer samples than asked for, or none, say that it has ended."""

    def sample(self, num: int, generator: torch.Generator) -> dict[str, Tensor]: ...


class CachedCandidates:
    """The samples of a table in order, each once.

    Args:
        table: of samples.
        columns: what is read of each.
    """

    def __init__(self, table: Table, columns: list[str]) -> None:
        self.table, self.columns = table, columns
        self._next = 0

    def sample(self, num: int, generator: torch.Generator) -> dict[str, Tensor]:
        start, self._next = self._next, min(self._next + num, len(self.table))
        return self.table.read(slice(start, self._next), self.columns)


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
