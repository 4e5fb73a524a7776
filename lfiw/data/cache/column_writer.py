"""Writes one later column of a cache, from one or several processes, and goes on where a killed run stopped."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from lfiw.data.cache.blocks import SHARD_BYTES, RowBuffer, check_same_layouts, layouts_of, rows_per_shard
from lfiw.data.cache.manifest import FILE, VALUES, ColumnManifest, Layout, Shard, check_json, read_table_manifest
from lfiw.data.cache.names import check_column_name
from lfiw.data.cache.parts import ROWS, Part, complement, covered, disjoint, merged_blocks, read_parts, write_part
from lfiw.data.cache.shards import write_shard
from lfiw.data.cache.staging import LOCK, Staging, publishing, shared_path, sweep
from lfiw.data.cache.writer import check_processes, first_free_sequence, remove_others
from lfiw.data.table import row_index
from lfiw.errors import InputError
from lfiw.files import sync_folder, write_errors, write_json

PART_ROWS = 65_536  # a killed run loses at most so many computed rows a process,
PART_SECONDS = 30.0  # and at most the work of so long


class ColumnWriter:
    """Adds a column to a cache, or replaces one that was added before, when all rows are there.

        with ColumnWriter(cache, "features/pixels", stamp={"name": "pixels", "sha256": …}) as writer:
            for first, end in writer.missing():
                for start in range(first, end, 256):
                    writer.write(start, extract(cache[start : min(start + 256, end)]["image"]))

    Each process writes the rows that it owns: consecutive ones (cheap: its files become the column's) or any others
    (put in row order at the end). Leaving the block publishes the column at once. After an exception or a kill the
    column is as it was before, and what was computed stays hidden beside it: the next writer with the same stamp finds
    it in `rows_done`.

    `rows_done`, on entry: ascending (start, stop) ranges of the rows that a killed run with this stamp has left.

    Args:
        path: the cache, or its folder.
        name: as in `features/pixels`.
        stamp: what computes it: name, SHA-256 of the weights, preprocessing, … Rows of another stamp are not reused.
        shard_bytes: size of a file.
        part_rows, part_seconds: write to disk after so many rows or so long, at the latest.
        rank, world_size: of this process, where several write on one file system.
        barrier: waits for all processes, as `trainer.strategy.barrier`; needed if there are several.
        resume: False forgets what a killed run left, and leaves nothing itself.

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
        check_processes(rank, world_size, barrier)
        if shard_bytes < 1 or part_rows < 1:
            raise InputError(f"shard_bytes is {shard_bytes} and part_rows {part_rows}, expected at least 1")
        self.name = check_column_name(name)
        self.rows_done: list[tuple[int, int]] = []
        self._table_path = Path(path).absolute()
        table = read_table_manifest(self._table_path)
        if name in table.base:
            raise InputError(f"{name!r} is a base column of {self._table_path}: choose another name")
        self._identity, self._num_rows = table.identity, table.num_rows
        self._stamp = check_json("stamp", stamp)
        self._shard_bytes, self._part_rows, self._resume = shard_bytes, part_rows, resume
        self._part_seconds, self._written = part_seconds, 0.0
        self._rank, self._world_size = rank, world_size
        self._barrier = barrier or (lambda: None)
        self._target = self._table_path / "columns" / name
        self._staging: Staging | None = None
        self._folder = self._target  # where this process writes; set on entry
        self._layout: Layout | None = None
        self._buffer: RowBuffer | None = None

    def __enter__(self) -> "ColumnWriter":
        work = json.dumps([self._identity, self._stamp], sort_keys=True)
        stem = f".partial-{hashlib.sha256(work.encode()).hexdigest()[:16]}"
        with write_errors(self._target):
            if self._rank == 0:
                self._target.mkdir(parents=True, exist_ok=True)
                self._staging = Staging.claim(self._target, stem, shared=self._world_size > 1)
                sweep(self._target, ".partial-", keep=self._staging.path)
                self._remove_leftovers(self._staging.path)
            self._barrier()
            self._folder = self._staging.path if self._staging else shared_path(self._target, stem)
            parts = read_parts(self._folder)
        self.rows_done = covered(parts)
        self._layout = parts[0].layout if parts else None
        self._barrier()  # no process writes before all have read
        return self

    def _remove_leftovers(self, folder: Path) -> None:
        for path in folder.iterdir():
            if path.name != LOCK and (path.name.startswith(".part~") or not self._resume):
                path.unlink()

    def missing(self, start: int = 0, stop: int | None = None) -> list[tuple[int, int]]:
        """The ranges of rows between start and stop (the table's end) that no earlier run has left in `rows_done`."""
        stop = self._num_rows if stop is None else stop
        gaps = complement(self.rows_done, self._num_rows)
        cut = [(max(first, start), min(end, stop)) for first, end in gaps]
        return [(first, end) for first, end in cut if first < end]

    def write(self, start: int, block: Tensor) -> None:
        """Rows start, start + 1, …: block is (rows, …)."""
        layouts_of({VALUES: block})
        self.write_rows(torch.arange(start, start + len(block)), block)

    def write_rows(self, rows: Int64[Tensor, " n"], block: Tensor) -> None:
        """Rows of any numbers: block is (n, …), in the order of `rows`.

        Raises:
            InputError: a row that the table does not have, or a type or shape other than that of the rows before.
        """
        layout = layouts_of({VALUES: block})[VALUES]
        if len(rows) != len(block):
            raise InputError(f"{len(rows)} row numbers for {len(block)} values of {self.name}")
        row_index(rows, self._num_rows)
        self._layout = self._layout or layout
        check_same_layouts("this block", {self.name: layout}, {self.name: self._layout})
        if self._buffer is None:
            layouts = {VALUES: layout, ROWS: (torch.int64, ())}
            capacity = min(self._part_rows, self._num_rows, rows_per_shard({VALUES: layout}, self._shard_bytes))
            self._buffer = RowBuffer(layouts, capacity)
            self._written = time.monotonic()
        start = 0
        while start < len(rows):
            start += self._buffer.put({VALUES: block, ROWS: rows}, start)
            if self._buffer.filled == self._buffer.capacity:
                self._flush(self._buffer)
        if self._buffer.filled and time.monotonic() - self._written > self._part_seconds:
            self._flush(self._buffer)

    def _flush(self, buffer: RowBuffer) -> None:
        collected = buffer.take()
        with write_errors(self._target):
            write_part(self._folder, self._rank, collected[ROWS], collected[VALUES])
        self._written = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        finished = False
        try:
            if self._buffer is not None and self._buffer.filled:
                self._flush(self._buffer)
            if kind is None:
                self._finish()
                finished = True
        finally:
            self._leave(finished)

    def _leave(self, finished: bool) -> None:
        if self._staging is None:
            return
        if finished or not self._resume:
            self._staging.remove()
            remove_empty(self._target, self._table_path)
        else:
            self._staging.release()
        self._staging = None

    def _finish(self) -> None:
        self._barrier()
        if self._rank == 0:
            with write_errors(self._target):
                self._publish(*self._assemble(read_parts(self._folder)))
        self._barrier()

    def _assemble(self, parts: list[Part]) -> tuple[Layout, list[Shard]]:
        """Files in the staging folder that together are the column, in row order.

        Parts of consecutive rows stay as they are; the others, and all if they are very small, are rewritten.
        """
        if not parts:
            raise InputError(f"{self.name}: no row was written, expected {self._num_rows:,}")
        layout = parts[0].layout
        for part in parts:
            check_same_layouts(f"{part.path.name}", {self.name: part.layout}, {self.name: layout})
        kept = disjoint(parts)
        if len(kept) > 1 and sum(part.num_bytes for part in kept) < len(kept) * self._shard_bytes // 8:
            kept = []
        shards = {part.start: Shard(part.path.name, len(part.values), part.sha256, part.num_bytes) for part in kept}
        others = [part for part in parts if part not in kept]
        gaps = complement([(part.start, part.stop) for part in kept], self._num_rows)
        try:
            for start, values in merged_blocks(others, gaps, rows_per_shard({VALUES: layout}, self._shard_bytes)):
                file = f".part~{start}"
                sha256, num_bytes = write_shard(self._folder / file, {VALUES: values})
                shards[start] = Shard(file, len(values), sha256, num_bytes)
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from None
        return layout, [shards[start] for start in sorted(shards)]

    def _publish(self, layout: Layout, shards: list[Shard]) -> None:
        with publishing(self._target):
            if read_table_manifest(self._table_path).identity != self._identity:
                raise InputError(f"{self._table_path}: overwritten while {self.name} was computed: compute it again")
            placed = []
            for sequence, shard in enumerate(shards, start=first_free_sequence(self._target)):
                placed.append(replace(shard, file=f"00000-{sequence:05d}.safetensors"))
                os.rename(self._folder / shard.file, self._target / placed[-1].file)
            sync_folder(self._target)
            manifest = ColumnManifest(self.name, layout, tuple(placed), self._identity, self._stamp)
            write_json(self._target / FILE, manifest.as_json())
            remove_others(self._target, {shard.file for shard in placed})


def remove_empty(folder: Path, root: Path) -> None:
    """Removes a folder and those above it, below `root`, as far as they are empty."""
    for path in (folder, *folder.parents):
        if path == root or any(path.iterdir()):
            return
        path.rmdir()
