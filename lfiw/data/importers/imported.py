"""What an importer hands over: rows for a cache, where they come from, and what was found out about them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Imported:
    """Samples that can be written to a cache.

    Attributes:
        source: provenance for the cache's manifest.
        notes: what was detected or decided, one line each, to be told to the user.
        num_rows: how many there are.
        read: (start, stop) → those rows, as column name → (stop − start, …).
        block_rows: how many are read at once.
    """

    source: dict[str, Any]
    notes: tuple[str, ...]
    num_rows: int
    read: Callable[[int, int], dict[str, Tensor]]
    block_rows: int = BLOCK_ROWS

    def blocks(self) -> Iterator[dict[str, Tensor]]:
        """All rows in order."""
        for start in range(0, self.num_rows, self.block_rows):
            yield self.read(start, min(start + self.block_rows, self.num_rows))
