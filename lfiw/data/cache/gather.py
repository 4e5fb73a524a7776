"""Random rows of a column that lies in several pieces."""

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

RESIDENT_BYTES = 1 << 24  # a column of several pieces up to this size is joined in memory, once


class PiecedColumn:
    """A column of (rows, …) that lies in consecutive pieces; each piece is a view of a memory map."""

    def __init__(self, pieces: Sequence[Tensor]) -> None:
        self.pieces = tuple(pieces)
        self._joined: Tensor | None = pieces[0] if len(pieces) == 1 else None
        self._is_small = sum(piece.nbytes for piece in pieces) <= RESIDENT_BYTES

    def whole(self) -> Tensor:
        """All rows: the map itself where they lie in one piece, a copy where not."""
        return self.pieces[0] if len(self.pieces) == 1 else torch.cat(self.pieces)

    def take(self, plan: "Plan") -> Tensor:
        """The planned rows, copied."""
        if self._joined is None and self._is_small:
            self._joined = self.whole()
        if self._joined is not None:
            return self._joined.index_select(0, plan.rows)
        # numpy's calls cost less than torch's, and there is one for each piece; a row is one opaque value, so that any
        # element type will do.
        gathered = np.empty(len(plan.rows), dtype=self._opaque[0].dtype)
        for piece, rows, places in plan.groups:
            gathered[places] = self._opaque[piece][rows]
        first = self.pieces[0]
        return torch.from_numpy(gathered.view(np.uint8)).view(first.dtype).view(-1, *first.shape[1:])

    @cached_property
    def _opaque(self) -> list[np.ndarray]:
        row_bytes = self.pieces[0][0].nbytes
        return [piece.flatten().view(torch.uint8).numpy().view(f"V{row_bytes}") for piece in self.pieces]

    def range(self, start: int, stop: int, bounds: Int64[Tensor, " pieces_plus_1"]) -> Tensor:
        """Rows start to stop, copied."""
        first = min(int(torch.searchsorted(bounds, start, right=True)) - 1, len(self.pieces) - 1)
        last = max(int(torch.searchsorted(bounds, stop)), first + 1)
        offsets = bounds[first:last].tolist()
        pieces = self.pieces[first:last]
        return torch.cat(
            [piece[max(start - offset, 0) : stop - offset] for piece, offset in zip(pieces, offsets, strict=True)]
        )


class Plan:
    """Which rows come from which piece; shared by all columns that are cut alike.

    Args:
        rows: row numbers of the table.
        bounds: first row of each piece, then the number of rows.
    """

    def __init__(self, rows: Int64[Tensor, " n"], bounds: Int64[Tensor, " pieces_plus_1"]) -> None:
        self.rows = rows
        self._bounds = bounds.numpy()

    @cached_property
    def groups(self) -> list[tuple[int, np.ndarray, np.ndarray]]:
        """(piece, rows of that piece, their places in the result), for each piece that is needed."""
        pieces = np.searchsorted(self._bounds, self.rows.numpy(), side="right") - 1
        places = np.argsort(pieces, kind="stable")
        pieces = pieces[places]
        rows = self.rows.numpy()[places] - self._bounds[pieces]
        needed, starts = np.unique(pieces, return_index=True)
        edges = pairwise([*starts.tolist(), len(rows)])
        return [
            (piece, rows[start:stop], places[start:stop])
            for piece, (start, stop) in zip(needed.tolist(), edges, strict=True)
        ]
