"""Writes tables shard by shard, from any number of processes; nothing appears at the path until all of it is there."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from lfiw.data.cache.manifest import (
    FILE,
    Layout,
    RowsOf,
    Shard,
    TableManifest,
    check_column_name,
    check_json,
    check_same_layouts,
    columns_as_json,
    layouts_of,
    read_table_manifest,
)
from lfiw.data.cache.shards import SHARD_BYTES, RowBuffer, rows_per_shard
from lfiw.data.cache.staging import PLAN, Staging, Writer, place, publishing, remove_others, shared_path
from lfiw.errors import InputError
from lfiw.files import read_json, sync_folder, temporary_name, write_json

# what a cache folder holds; a folder with anything else is not a cache
ENTRIES = {FILE, temporary_name(Path(FILE)).name, "data", "columns", ".lock"}


class CacheWriter(Writer):
    """Writes a new cache, or replaces the content of an existing one.

        with CacheWriter("cache/mine", source={"generator": "mine", "seed": 0}) as writer:
            writer.write({"image": images, "label": labels})     # any number of blocks

    Rows keep the order of writing. An exception or a killed process leaves the path unchanged. Several processes write
    one cache with `PlannedWriter`.

    Args:
        path: the folder to create.
        source: provenance, saved as JSON: generator or data set, file, its SHA-256, value range, seed, …
        shard_bytes: size of a file.
        overwrite: replace an existing cache and the columns added to it. Readers that have it open keep the old
            content.
        of: the cache that the rows belong to, if the blocks hold only row numbers (`write_rows`).

    Raises:
        InputError: the path is taken or cannot be written, or no row was written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        source: Mapping[str, Any] | None = None,
        shard_bytes: int = SHARD_BYTES,
        overwrite: bool = False,
        of: RowsOf | None = None,
    ) -> None:
        self.path = Path(path).absolute()
        stem = self.path.with_name(f".{self.path.name}.partial")
        super().__init__(self.path, stem, shard_bytes=shard_bytes, shared=False, resumable=False)
        self.num_rows = 0  # written so far
        self._source, self._overwrite, self._of = check_json("source", source or {}), overwrite, of
        self._layouts: dict[str, Layout] = {}

    def _check(self) -> None:
        check_target(self.path, self._overwrite)

    def write(self, block: Mapping[str, Tensor]) -> None:
        """Adds rows: column name → (rows, …). The first block determines columns, element types and shapes.

        Raises:
            InputError: columns, dtypes or shapes differ from those of the first block, or the disk refuses.
        """
        layouts = layouts_of(block)
        if self._buffer is None:
            for name in block:
                check_column_name(name)
            self._layouts = layouts
            self._buffer = RowBuffer(layouts, rows_per_shard(layouts, self._shard_bytes))
        check_same_layouts("this block", layouts, self._layouts)
        for _ in self._buffer.fill(block):
            self._flush()
        self.num_rows += len(next(iter(block.values())))

    def _flush(self) -> None:
        if self._buffer is not None and self._buffer.filled:
            parts = self._staging.parts()
            start = parts[-1].stop if parts else 0
            rows = (start, start + self._buffer.filled)
            self._add(f"00000-{len(parts):05d}", rows, self._buffer.take())

    def _publish(self) -> None:
        shards = tuple(part.shard for part in self._staging.parts())
        if not shards:
            raise InputError(f"{self.path}: no rows were written: an empty cache is not made")
        manifest = TableManifest(self._layouts, shards, self._source, self._of)
        publish(self._staging.table, self.path, manifest, self._overwrite)


@dataclass(frozen=True)
class Piece:
    """The rows start ≤ row < stop, which become one shard."""

    start: int
    stop: int


class PlannedWriter(Writer):
    """Writes a cache whose number of rows is known: the same files for any number of processes; resumes after a kill.

        with PlannedWriter("cache/mine", 1_000_000, layouts, source={"generator": "mine", "seed": 0}) as writer:
            for piece in writer.missing():
                writer.write(piece, blocks(piece.start, piece.stop))

    Shards depend on the row numbers alone. Of W processes, number r takes every W-th missing shard from the r-th on.
    After an exception or a kill whole shards stay hidden beside the path: the next writer of the same table, with any
    number of processes, writes the rest.

    Args:
        path: the folder to create, or the cache to overwrite or append to.
        num_rows: rows to write.
        layouts: element type and shape of one row per column (`layouts_of` a block).
        source: provenance, as for `CacheWriter`. Unfinished work of another source is not resumed.
        rank, world_size, barrier: as for `Writer`.
        overwrite: replace an existing cache.
        append: add the rows after the existing ones; source and columns must be the same. Columns computed later are
            removed: they lack the new rows.
        restart: discard unfinished work.

    Raises:
        InputError: the path is taken, cannot be written or is being written by others, or unfinished work or the rows
            to append to do not match.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        num_rows: int,
        layouts: Mapping[str, Layout],
        *,
        source: Mapping[str, Any] | None = None,
        shard_bytes: int = SHARD_BYTES,
        rank: int = 0,
        world_size: int = 1,
        barrier: Callable[[], object] | None = None,
        overwrite: bool = False,
        append: bool = False,
        restart: bool = False,
    ) -> None:
        self.path = Path(path).absolute()
        super().__init__(
            self.path, unfinished_stem(self.path), shard_bytes=shard_bytes, rank=rank, world_size=world_size,
            barrier=barrier,
        )  # fmt: skip
        if num_rows < 1:
            raise InputError(f"num_rows is {num_rows}, expected at least 1")
        if overwrite and append:
            raise InputError("overwrite and append exclude one another: give one of them")
        for name in layouts:
            check_column_name(name)
        self.first_row = 0  # number of the first row to write; set on entry
        self._num_rows, self._layouts = num_rows, dict(layouts)
        self._source = check_json("source", source or {})
        self._overwrite, self._append, self._restart = overwrite, append, restart
        self._rows = min(rows_per_shard(layouts, shard_bytes), num_rows)

    def _check(self) -> None:
        if not self._append:
            check_target(self.path, self._overwrite)
            return
        old = read_table_manifest(self.path)
        check_same_layouts(f"the new block for {self.path}", self._layouts, old.columns)
        if differing := differing_keys(old.source, self._source):
            raise InputError(
                f"{self.path} comes from another source ({differing} differ): append with the same "
                "generator and options, or write another cache"
            )
        self.first_row = old.num_rows

    def _prepare(self) -> None:
        self._staging.prepare(self._restart)
        plan = {
            "source": self._source,
            "columns": columns_as_json(self._layouts),
            "first_row": self.first_row,
            "num_rows": self._num_rows,
            "rows_per_shard": self._rows,
        }
        file = self._staging.path / PLAN
        if file.exists() and (differing := differing_keys(plan, read_json(file))):
            raise InputError(
                f"{self.path}: an unfinished run with other options lies beside it ({differing} differ): "
                "give the same options to finish it, or --restart to throw it away"
            )
        write_json(file, plan)

    def pieces(self) -> Iterator[Piece]:
        """Yields all shards of the table to write, in order."""
        end = self.first_row + self._num_rows
        for start in range(self.first_row, end, self._rows):
            yield Piece(start, min(start + self._rows, end))

    def missing(self) -> list[Piece]:
        """Returns the shards that are left for this process."""
        written = self._written()
        left = [piece for piece in self.pieces() if piece not in written]
        self._barrier()  # no process writes before all have looked
        return left[self._rank :: self._world_size]

    def _written(self) -> dict[Piece, Shard]:
        return {Piece(part.start, part.stop): part.shard for part in self._staging.parts()}

    def write(self, piece: Piece, blocks: Iterable[Mapping[str, Tensor]]) -> None:
        """Writes one shard and waits until it is on the disk.

        Args:
            blocks: the piece's rows in order.

        Raises:
            InputError: the blocks are not those rows, or the disk refuses.
        """
        buffer = self._buffer = self._buffer or RowBuffer(self._layouts, self._rows)
        buffer.take()  # what a failed call left
        rows, seen = piece.stop - piece.start, 0
        for block in blocks:
            layouts = layouts_of(block)
            check_same_layouts(f"row {piece.start + seen:,}", layouts, self._layouts)
            seen += len(next(iter(block.values())))
            if seen > rows:
                break
            buffer.put(block)
        if seen != rows:
            raise InputError(f"rows {piece.start:,} to {piece.stop - 1:,}: got {seen:,} of {rows:,}")
        number = (piece.start - self.first_row) // self._rows
        self._add(f"00000-{number:05d}", (piece.start, piece.stop), buffer.take())

    def _publish(self) -> None:
        written = self._written()
        for piece in self.pieces():
            if piece not in written:
                raise InputError(
                    f"{self.path}: rows {piece.start:,} to {piece.stop - 1:,} are missing: run it again to finish them"
                )
        shards = tuple(written[piece] for piece in self.pieces())
        manifest = TableManifest(self._layouts, shards, self._source)
        publish(self._staging.table, self.path, manifest, self._overwrite, self.first_row if self._append else None)


def differing_keys(left: Mapping[str, object], right: Mapping[str, object]) -> str:
    return ", ".join(sorted(key for key in left.keys() | right.keys() if left.get(key) != right.get(key)))


def unfinished_stem(path: Path) -> Path:
    return path.with_name(f".{path.name}.unfinished")


def unfinished(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Returns (rows in whole shards, rows planned) if a stopped `PlannedWriter` left work beside a path."""
    staging = Staging(shared_path(unfinished_stem(Path(path).absolute())))
    parts = staging.parts()
    if not parts:
        return None
    return sum(part.shard.num_rows for part in parts), read_json(staging.path / PLAN)["num_rows"]


def check_target(path: Path, overwrite: bool) -> None:
    """Checks that a cache may be written there.

    Raises:
        InputError: something exists there that may not be replaced.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise InputError(f"{path}: is a file, expected the folder of a cache: choose another path")
    check_entries(path, {entry.name for entry in path.iterdir()}, overwrite, "path")


def check_entries(where: str | Path, found: set[str], overwrite: bool, place: str) -> None:
    if found and not overwrite:
        raise InputError(
            f"{where}: exists already: overwrite it (--overwrite, overwrite=True) or choose another {place}"
        )
    if not found <= ENTRIES:
        raise InputError(
            f"{where}: holds {min(found - ENTRIES)}, so it is no cache and is not overwritten: choose another {place}"
        )


def publish(staged: Path, target: Path, manifest: TableManifest, overwrite: bool, append_at: int | None = None) -> None:
    """Moves a table into place, in one step if nothing is there.

    Otherwise it puts the new shards beside the old ones, replaces the manifest, and removes the rest: at every moment
    the manifest at the target names existing shards.

    Raises:
        InputError: another writer came first, or the cache has changed since the rows to append were numbered.
    """
    if append_at is None and not (overwrite and target.is_dir() and any(target.iterdir())):
        sync_folder(staged / "data")
        write_json(staged / FILE, manifest.as_json())
        try:
            os.rename(staged, target)
        except OSError:
            check_target(target, overwrite=False)  # another writer came first
            raise
        sync_folder(target.parent)
        return
    with publishing(target):
        old = None if append_at is None else read_table_manifest(target)
        if old and old.num_rows != append_at:
            raise InputError(f"{target}: {old.num_rows:,} rows where there were {append_at:,}: append again")
        shards = (*(old.shards if old else ()), *place(staged, manifest.shards, target, "data/"))
        write_json(target / FILE, replace(old or manifest, shards=shards).as_json())
        remove_others(target / "data", shards)
        shutil.rmtree(target / "columns", ignore_errors=True)  # they belong to the old table
