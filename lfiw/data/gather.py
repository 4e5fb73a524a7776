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
        # By piece, then into the order asked for: the second copy stays in the processor's cache. As bytes, since numpy
        # has no bfloat16; numpy, since its calls cost less than torch's and there is one for each piece.
        gathered = np.empty((len(plan.rows), self._bytes[0].shape[1]), dtype=np.uint8)
        for piece, rows, start, stop in plan.groups:
            np.take(self._bytes[piece], rows, axis=0, out=gathered[start:stop], mode="clip")  # clip: no temporary
        first = self.pieces[0]
        return torch.from_numpy(gathered).index_select(0, plan.order).view(first.dtype).view(-1, *first.shape[1:])

    @cached_property
    def _bytes(self) -> list[np.ndarray]:
        return [piece.flatten().view(torch.uint8).view(len(piece), -1).numpy() for piece in self.pieces]

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
    def _piece_of_row(self) -> np.ndarray:
        return np.searchsorted(self._bounds, self.rows.numpy(), side="right") - 1

    @cached_property
    def _by_piece(self) -> np.ndarray:
        return np.argsort(self._piece_of_row, kind="stable")

    @cached_property
    def order(self) -> Int64[Tensor, " n"]:
        """Position of each asked row among the gathered ones."""
        order = np.empty_like(self._by_piece)
        order[self._by_piece] = np.arange(len(order))
        return torch.from_numpy(order)

    @cached_property
    def groups(self) -> list[tuple[int, np.ndarray, int, int]]:
        """(piece, its rows, start and stop among the gathered rows), for each piece that is needed."""
        pieces = self._piece_of_row[self._by_piece]
        rows = self.rows.numpy()[self._by_piece] - self._bounds[pieces]
        needed, starts = np.unique(pieces, return_index=True)
        edges = [*starts.tolist(), len(rows)]
        return [
            (piece, rows[start:stop], start, stop)
            for piece, (start, stop) in zip(needed.tolist(), pairwise(edges), strict=True)
        ]
