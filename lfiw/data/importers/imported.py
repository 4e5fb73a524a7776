"""What an importer hands over: blocks for a cache, where they come from, and what was found out about them."""

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
        blocks: starts reading; each block maps column names to (rows, …).
    """

    source: dict[str, Any]
    notes: tuple[str, ...]
    blocks: Callable[[], Iterator[dict[str, Tensor]]]
