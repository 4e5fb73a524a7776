"""Writes a table whose rows are known by number: shard by shard, by any processes, and goes on after a kill."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any

from torch import Tensor

from lfiw.data.cache.blocks import SHARD_BYTES, RowBuffer, check_same_layouts, layouts_of, rows_per_shard
from lfiw.data.cache.manifest import (
    FILE,
    Layout,
    Shard,
    TableManifest,
    check_json,
    columns_as_json,
    read_table_manifest,
)
from lfiw.data.cache.names import check_column_name
from lfiw.data.cache.shards import write_shard
from lfiw.data.cache.staging import Staging, publishing, shared_path
from lfiw.data.cache.writer import TABLE, check_processes, check_target, move_shards, publish_over, remove_others
from lfiw.errors import InputError
from lfiw.files import read_json, sync_folder, write_errors, write_json

PLAN, JOURNAL = "plan.json", "journal"  # inside the staging folder
WRITING = ".writing~"  # prefix of a shard that is not whole


@dataclass(frozen=True)
class Piece:
    """Rows start ≤ row < stop, which become one shard."""

    number: int
    start: int
    stop: int


class PlannedWriter:
    """Writes the base columns of a cache, the same files whoever writes them.

        with PlannedWriter("cache/mine", 1_000_000, layouts, source={"generator": "mine", "seed": 0}) as writer:
            for piece in writer.missing():
                writer.write(piece, blocks(piece.start, piece.stop))

    Rows are cut into shards by their numbers alone; of W processes number r takes every W-th shard that is missing,
    from the r-th on. Leaving the block publishes the table at once. After an exception or a kill the path is as it was
    before, and whole shards stay hidden beside it: the next writer of the same table, with any number of processes,
    goes on.

    Args:
        path: folder to make, or the cache to overwrite or append to.
        num_rows: rows to write.
        layouts: element type and shape of one row of each column (`layouts_of` a block).
        source: provenance, as for `CacheWriter`. Unfinished work of another source is not gone on with.
        overwrite: replace the cache that is there.
        append: add the rows after those that are there, whose numbers go on; source and columns must be the same.
            Columns computed later are removed: they lack the new rows.
        restart: throw away unfinished work.

    Raises:
        InputError: the path is taken, cannot be written or is being written by others; unfinished work differs; what is
            appended differs.
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
        check_processes(rank, world_size, barrier)
        if shard_bytes < 1 or num_rows < 1:
            raise InputError(f"shard_bytes is {shard_bytes} and num_rows {num_rows}, expected at least 1")
        if overwrite and append:
            raise InputError("overwrite and append exclude one another: give one of them")
        for name in layouts:
            check_column_name(name)
        self.path = Path(path).absolute()
        self.first_row = 0  # number of the first row to write; set on entry
        self._num_rows, self._layouts = num_rows, dict(layouts)
        self._source = check_json("source", source or {})
        self._overwrite, self._append, self._restart = overwrite, append, restart
        self._rank, self._world_size = rank, world_size
        self._barrier = barrier or (lambda: None)
        self._rows = rows_per_shard(layouts, shard_bytes)
        self._stem = f".{self.path.name}.unfinished"
        self._folder = shared_path(self.path.parent, self._stem)
        self._staging: Staging | None = None
        self._buffer: RowBuffer | None = None

    def __enter__(self) -> "PlannedWriter":
        with write_errors(self.path):
            if self._append:
                self.first_row = self._check_old().num_rows
            if self._rank == 0:
                self._claim()
            self._barrier()
        return self

    def _check_old(self) -> TableManifest:
        """The cache to append to."""
        old = read_table_manifest(self.path)
        check_same_layouts(f"the new block for {self.path}", self._layouts, old.columns)
        if old.source != self._source:
            differing = sorted(
                key for key in old.source.keys() | self._source.keys() if old.source.get(key) != self._source.get(key)
            )
            raise InputError(
                f"{self.path} comes from another source ({', '.join(differing)} differ): append with the same "
                "generator and options, or write another cache"
            )
        return old

    def _claim(self) -> None:
        if not self._append:
            check_target(self.path, self._overwrite)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._staging = Staging.claim(self.path.parent, self._stem, shared=True)
        plan = {
            "source": self._source,
            "columns": columns_as_json(self._layouts),
            "first_row": self.first_row,
            "num_rows": self._num_rows,
            "rows_per_shard": self._rows,
        }
        if self._restart or not any(self._data.glob("*.safetensors")):  # or a run was killed when it had published
            self._remove_work()
        found = read_json(self._folder / PLAN) if (self._folder / PLAN).exists() else plan
        if found != plan:
            differing = sorted(key for key in plan if found.get(key) != plan[key])
            self._staging.release()
            self._staging = None
            raise InputError(
                f"{self.path}: an unfinished run with other options lies beside it ({', '.join(differing)} differ): "
                "give the same options to go on with it, or --restart to throw it away"
            )
        for folder in (self._data, self._folder / JOURNAL):
            folder.mkdir(parents=True, exist_ok=True)
        for path in self._data.glob(f"{WRITING}*"):
            path.unlink()
        write_json(self._folder / PLAN, plan)

    def _remove_work(self) -> None:
        shutil.rmtree(self._folder / TABLE, ignore_errors=True)
        shutil.rmtree(self._folder / JOURNAL, ignore_errors=True)
        (self._folder / PLAN).unlink(missing_ok=True)

    @property
    def _data(self) -> Path:
        return self._folder / TABLE / "data"

    def pieces(self) -> Iterator[Piece]:
        """All shards of the table to write, in order."""
        for number, start in enumerate(range(0, self._num_rows, self._rows)):
            stop = min(start + self._rows, self._num_rows)
            yield Piece(number, self.first_row + start, self.first_row + stop)

    def missing(self) -> list[Piece]:
        """The shards that are left for this process."""
        left = [piece for piece in self.pieces() if self._finished(piece) is None]
        self._barrier()  # no process writes before all have looked
        return left[self._rank :: self._world_size]

    def _finished(self, piece: Piece) -> Shard | None:
        """What the journal says of a shard; none where it is not whole."""
        entry = self._folder / JOURNAL / f"{piece.number:09d}.json"
        if not entry.exists():
            return None
        shard = Shard(**read_json(entry))
        try:
            size = (self._folder / TABLE / shard.file).stat().st_size
        except OSError:
            return None
        return shard if size == shard.num_bytes and shard.num_rows == piece.stop - piece.start else None

    def write(self, piece: Piece, blocks: Iterable[Mapping[str, Tensor]]) -> None:
        """Writes one shard and waits until it is on the disk.

        Args:
            blocks: the piece's rows in order.

        Raises:
            InputError: the blocks are not those rows, or the disk refuses.
        """
        if self._buffer is None:
            self._buffer = RowBuffer(self._layouts, min(self._rows, self._num_rows))
        rows = piece.stop - piece.start
        seen = 0
        for block in blocks:
            layouts = layouts_of(block)
            check_same_layouts(f"row {piece.start + seen:,}", layouts, self._layouts)
            size = len(next(iter(block.values())))
            if size and self._buffer.put(block, 0) != size:
                seen += size
                break
            seen += size
        if seen != rows:
            self._buffer.take()
            raise InputError(f"rows {piece.start:,} to {piece.stop - 1:,}: got {seen:,} of {rows:,}")
        file = f"data/00000-{piece.number:05d}.safetensors"
        temporary = self._data / f"{WRITING}{token_hex(8)}"
        try:
            with write_errors(self.path):
                sha256, num_bytes = write_shard(temporary, self._buffer.take())
                os.replace(temporary, self._folder / TABLE / file)
                sync_folder(self._data)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
        write_json(self._folder / JOURNAL / f"{piece.number:09d}.json", Shard(file, rows, sha256, num_bytes).as_json())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        finished = False
        try:
            if kind is None:
                self._barrier()
                if self._rank == 0:
                    with write_errors(self.path):
                        self._publish()
                    finished = True
                self._barrier()
        finally:
            if self._staging is not None:
                self._leave(finished)

    def _leave(self, finished: bool) -> None:
        assert self._staging is not None
        if finished or not any((self._folder / JOURNAL).glob("?????????.json")):
            self._staging.remove()
        else:
            self._staging.release()
        self._staging = None

    def _publish(self) -> None:
        shards = []
        for piece in self.pieces():
            shard = self._finished(piece)
            if shard is None:
                raise InputError(
                    f"{self.path}: rows {piece.start:,} to {piece.stop - 1:,} are missing: run it again to finish them"
                )
            shards.append(shard)
        table = self._folder / TABLE
        manifest = TableManifest(self._layouts, tuple(shards), self._source)
        if self._append:
            publish_after(table, self.path, manifest, self.first_row)
            return
        write_json(table / FILE, manifest.as_json())
        if self._overwrite and self.path.is_dir() and any(self.path.iterdir()):
            publish_over(table, self.path, manifest)
            return
        try:
            os.rename(table, self.path)
        except OSError:
            check_target(self.path, overwrite=False)  # another writer came first
            raise
        sync_folder(self.path.parent)


def publish_after(staged: Path, target: Path, manifest: TableManifest, first_row: int) -> None:
    """Puts new shards behind those of the cache that is there, then one manifest over both in place of the old one.

    Raises:
        InputError: the cache has changed since the rows were numbered.
    """
    with publishing(target):
        old = read_table_manifest(target)
        if old.num_rows != first_row:
            raise InputError(f"{target}: {old.num_rows:,} rows where there were {first_row:,}: append again")
        shards = move_shards(staged, target / "data", manifest.shards)
        whole = replace(old, shards=(*old.shards, *shards))
        write_json(target / FILE, whole.as_json())
        remove_others(target / "data", {Path(shard.file).name for shard in whole.shards})
        shutil.rmtree(target / "columns", ignore_errors=True)  # of the shorter table


def unfinished(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """(rows in whole shards, rows planned) of what a stopped writer left beside a path; none: there is nothing."""
    target = Path(path).absolute()
    folder = shared_path(target.parent, f".{target.name}.unfinished")
    if not (folder / PLAN).is_file():
        return None
    entries = [read_json(entry) for entry in (folder / JOURNAL).glob("?????????.json")]
    return sum(entry["num_rows"] for entry in entries), read_json(folder / PLAN)["num_rows"]
