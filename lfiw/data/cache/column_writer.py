"""Writes one later column of a cache, from one or several processes, and resumes after a kill.

A part with consecutive rows holds only `values` and becomes a shard of the column as it is; others also hold `rows`.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from lfiw.data.cache.manifest import (
    FILE,
    VALUES,
    ColumnManifest,
    Layout,
    check_column_name,
    check_json,
    check_same_layouts,
    layouts_of,
    read_table_manifest,
)
from lfiw.data.cache.shards import SHARD_BYTES, RowBuffer, open_shard, rows_per_shard
from lfiw.data.cache.staging import Part, Writer, place, publishing, remove_others, sweep
from lfiw.data.table import row_index
from lfiw.errors import InputError
from lfiw.files import write_json

ROWS = "rows"
PART_ROWS = 65_536  # a killed run loses at most this many computed rows per process
PART_SECONDS = 30.0  # and at most this many seconds of work


class ColumnWriter(Writer):
    """Adds a column to a cache, or replaces an earlier one, once all rows are there.

        with ColumnWriter(cache, "features/pixels", stamp={"name": "pixels", "sha256": …}) as writer:
            for first, end in writer.missing():
                for start in range(first, end, 256):
                    writer.write(start, extract(cache[start : min(start + 256, end)]["image"]))

    Each process writes the rows that it owns. Consecutive rows are cheap, since their files become the column's; any
    others are sorted at the end. Leaving the block publishes the column in one step. After an exception or a kill the
    column is unchanged, and the computed rows stay hidden beside it: the next writer with the same stamp lists them in
    `rows_done`.

    On entry, `rows_done` holds ascending (start, stop) ranges of the rows that a killed run with this stamp left.

    Args:
        path: the cache, or its folder.
        name: the column's, such as `features/pixels`.
        stamp: what computes it: name, SHA-256 of the weights, preprocessing, … Rows of another stamp are not reused.
        shard_bytes: size of one file.
        part_rows, part_seconds: write to disk after this many rows or seconds, whichever comes first.
        rank, world_size, barrier: as for `Writer`.
        resume: if False, discards what a killed run left, and leaves nothing behind itself.

    Raises:
        InputError: the cache is broken, the name is not allowed or taken by a base column, the folder cannot be
            written, rows are missing at the end.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        name: str,
        *,
        stamp: Mapping[str, Any],
        shard_bytes: int = SHARD_BYTES,
        part_rows: int = PART_ROWS,
        part_seconds: float = PART_SECONDS,
        rank: int = 0,
        world_size: int = 1,
        barrier: Callable[[], object] | None = None,
        resume: bool = True,
    ) -> None:
        if part_rows < 1:
            raise InputError(f"part_rows is {part_rows}, expected at least 1")
        self.name = check_column_name(name)
        self.rows_done: list[tuple[int, int]] = []
        self._table_path = Path(path).absolute()
        table = read_table_manifest(self._table_path)
        if name in table.base:
            raise InputError(f"{name!r} is a base column of {self._table_path}: choose another name")
        self._identity, self._num_rows = table.identity, table.num_rows
        self._stamp = check_json("stamp", stamp)
        work = json.dumps([self._identity, self._stamp], sort_keys=True)
        target = self._table_path / "columns" / name
        super().__init__(
            target, target / f".partial-{hashlib.sha256(work.encode()).hexdigest()[:16]}", shard_bytes=shard_bytes,
            rank=rank, world_size=world_size, barrier=barrier, shared=world_size > 1, resumable=resume,
        )  # fmt: skip
        self._part_rows, self._part_seconds, self._flushed = part_rows, part_seconds, 0.0
        self._layout: Layout | None = None

    def _prepare(self) -> None:
        sweep(self._target, ".partial-", keep=self._staging.path)  # of other stamps too
        self._staging.prepare(restart=not self._resumable)

    def __enter__(self) -> "ColumnWriter":
        super().__enter__()
        written = self._written()
        self.rows_done = covered(written, self._num_rows)
        self._layout = written[0].layout if written else None
        self._barrier()  # no process writes before all have read
        return self

    def _written(self) -> "list[Written]":
        """Returns the parts, sorted by first row. Unreadable parts are left out: their rows are computed again."""
        written = []
        for part in self._staging.parts():
            with contextlib.suppress(InputError):
                written.append(Written(part, **open_shard(self._staging.table / part.shard.file)))
        return written

    def missing(self, start: int = 0, stop: int | None = None) -> list[tuple[int, int]]:
        """Returns the ranges of rows from start to stop (default: the table's end) that are not in `rows_done`."""
        stop = self._num_rows if stop is None else stop
        cut = [(max(first, start), min(end, stop)) for first, end in gaps(self.rows_done, self._num_rows)]
        return [(first, end) for first, end in cut if first < end]

    def write(self, start: int, block: Tensor) -> None:
        """Writes rows start, start + 1, …; block is (rows, …)."""
        layouts_of({VALUES: block})
        self.write_rows(torch.arange(start, start + len(block)), block)

    def write_rows(self, rows: Int64[Tensor, " n"], block: Tensor) -> None:
        """Writes rows of any numbers; block is (n, …), in the order of `rows`.

        Raises:
            InputError: the table has no such row, or dtype or shape differ from those of earlier rows.
        """
        layout = layouts_of({VALUES: block})[VALUES]
        if len(rows) != len(block):
            raise InputError(f"{len(rows)} row numbers for {len(block)} values of {self.name}")
        row_index(rows, self._num_rows)
        self._layout = self._layout or layout
        check_same_layouts("this block", {self.name: layout}, {self.name: self._layout})
        if self._buffer is None:
            capacity = min(self._part_rows, self._num_rows, rows_per_shard({VALUES: layout}, self._shard_bytes))
            self._buffer = RowBuffer({VALUES: layout, ROWS: (torch.int64, ())}, capacity)
            self._flushed = time.monotonic()
        for _ in self._buffer.fill({VALUES: block, ROWS: rows}):
            self._flush()
        if time.monotonic() - self._flushed > self._part_seconds:
            self._flush()

    def _flush(self) -> None:
        if self._buffer is None or not self._buffer.filled:
            return
        tensors = self._buffer.take()
        rows, values = tensors[ROWS], tensors[VALUES]
        if not bool((rows.diff() == 1).all()):  # otherwise there is nothing to sort or to copy
            distinct, places = np.unique(rows.numpy(), return_index=True)
            rows, values = torch.from_numpy(distinct), values[torch.from_numpy(places)]
        start, stop = int(rows[0]), int(rows[-1]) + 1
        self._add_part({VALUES: values} if stop - start == len(rows) else {VALUES: values, ROWS: rows}, start, stop)
        self._flushed = time.monotonic()

    def _add_part(self, tensors: Mapping[str, Tensor], start: int, stop: int) -> Part:
        # no name is given twice, not even by a killed run's process that is still ending
        return self._add(f"{start:012d}-{token_hex(8)}", (start, stop), tensors)

    def _leave(self, finished: bool) -> None:
        super()._leave(finished)
        with contextlib.suppress(OSError):  # only empty folders can be removed, that is if nothing was published
            for folder in (self._target, *self._target.parents):
                if folder == self._table_path:
                    break
                folder.rmdir()

    def _publish(self) -> None:
        layout, parts = self._assemble()
        with publishing(self._target):
            if read_table_manifest(self._table_path).identity != self._identity:
                raise InputError(f"{self._table_path}: overwritten while {self.name} was computed: compute it again")
            shards = place(self._staging.table, [part.shard for part in parts], self._target)
            manifest = ColumnManifest(self.name, layout, shards, self._identity, self._stamp)
            write_json(self._target / FILE, manifest.as_json())
            remove_others(self._target, shards)

    def _assemble(self) -> tuple[Layout, list[Part]]:
        """Returns parts that together make up the column, in row order.

        Parts with consecutive rows stay as they are; the others are rewritten, and so are all if they are very small.
        """
        written = self._written()
        if not written:
            raise InputError(f"{self.name}: no row was written, expected {self._num_rows:,}")
        layout = written[0].layout
        for stored in written:
            check_same_layouts(stored.part.shard.file, {self.name: stored.layout}, {self.name: layout})
        kept: list[Part] = []
        for stored in written:
            if stored.rows is None and stored.part.start >= (kept[-1].stop if kept else 0):
                kept.append(stored.part)
        if len(kept) > 1 and sum(part.shard.num_bytes for part in kept) < len(kept) * self._shard_bytes // 8:
            kept = []
        chosen = set(kept)
        others = [stored for stored in written if stored.part not in chosen]
        size = rows_per_shard({VALUES: layout}, self._shard_bytes)
        for first, end in gaps([(part.start, part.stop) for part in kept], self._num_rows):
            for start in range(first, end, size):
                values = self._merged(others, layout, start, min(start + size, end))
                kept.append(self._add_part({VALUES: values}, start, start + len(values)))
        return layout, sorted(kept, key=lambda part: part.start)

    def _merged(self, written: "Sequence[Written]", layout: Layout, start: int, stop: int) -> Tensor:
        """Collects rows start to stop from the parts that have them; if two do, they hold the same values.

        Raises:
            InputError: no part has one of the rows.
        """
        values = torch.empty((stop - start, *layout[1]), dtype=layout[0])
        filled = torch.zeros(stop - start, dtype=torch.bool)
        for stored in written:
            if stored.part.start < stop and start < stored.part.stop:
                rows = torch.arange(stored.part.start, stored.part.stop) if stored.rows is None else stored.rows
                low, high = torch.searchsorted(rows, torch.tensor([start, stop])).tolist()
                values[rows[low:high] - start] = stored.values[low:high]
                filled[rows[low:high] - start] = True
        if not filled.all():
            raise InputError(
                f"{self.name}: rows {start:,} to {stop - 1:,} are not all computed: run it again to finish them"
            )
        return values


@dataclass(frozen=True, eq=False)
class Written:
    """A part that was read back from disk."""

    part: Part
    values: Tensor  # (rows, …), mapped
    rows: Int64[Tensor, " rows"] | None = None  # ascending; if None, part.start to part.stop

    @property
    def layout(self) -> Layout:
        return self.values.dtype, tuple(self.values.shape[1:])


def covered(written: Sequence[Written], num_rows: int) -> list[tuple[int, int]]:
    """Returns the ranges of rows that some part holds, ascending and disjoint."""
    there = torch.zeros(num_rows + 2, dtype=torch.int8)  # padded at both ends with a row that is missing
    for stored in written:
        rows = slice(stored.part.start + 1, stored.part.stop + 1) if stored.rows is None else stored.rows + 1
        there[rows] = 1
    edges = there.diff().nonzero().squeeze(1).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def gaps(ranges: Sequence[tuple[int, int]], num_rows: int) -> list[tuple[int, int]]:
    """Returns the ranges of rows below `num_rows` outside these, which are ascending and disjoint."""
    edges = [0, *(edge for pair in ranges for edge in pair), num_rows]
    return [(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True) if start < stop]
