"""Samples that are there already, as a generator."""

from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from lfiw.data.cache.reader import SampleCache
from lfiw.data.importers.imported import Imported
from lfiw.errors import InputError


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
