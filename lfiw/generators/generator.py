"""The one protocol of everything that can fill a cache, and how its rows are numbered."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor

from lfiw.data.batches import mix_seeds
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
