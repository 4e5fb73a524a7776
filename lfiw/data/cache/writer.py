"""Writes the base columns of a cache: nothing is seen at the path until everything is there."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from lfiw.data.cache.blocks import SHARD_BYTES, RowBuffer, check_same_layouts, layouts_of, rows_per_shard
from lfiw.data.cache.manifest import (
    FILE,
    Layout,
    RowsOf,
    Shard,
    TableManifest,
    check_json,
    columns_from_json,
)
from lfiw.data.cache.names import check_column_name
from lfiw.data.cache.shards import write_shard
from lfiw.data.cache.staging import Staging, publishing, shared_path, sweep
from lfiw.errors import InputError
from lfiw.files import sync_folder, temporary_name, write_errors, write_json

TABLE = "table"  # inside the staging folder: what is moved into place
# what a cache folder holds; one that holds more is no cache
ENTRIES = {FILE, temporary_name(Path(FILE)).name, "data", "columns", ".lock"}


class CacheWriter:
    """Writes a new cache, or a new content into an old one.

        with CacheWriter("cache/mine", source={"generator": "mine", "seed": 0}) as writer:
            writer.write({"image": images, "label": labels})     # any number of blocks

    The rows are in the order of writing; with several processes, those of rank 0 come first. An exception, or a killed
    process, leaves the path as it was.

    Args:
        path: folder to make.
        source: provenance, kept as JSON: generator or data set, file, its SHA-256, value range, seed, …
        shard_bytes: size of a file.
        rank, world_size: of this process, where several write parts of one cache on one file system.
        barrier: waits for all processes, as `trainer.strategy.barrier`; needed if there are several.
        overwrite: replace the cache that is there; columns added to it are removed with it. Readers that have it open
            keep what they have.
        of: the cache whose rows these are, where the blocks hold their numbers alone (`write_rows`).

    Raises:
        InputError: the path is taken, cannot be written, or no row was written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        source: Mapping[str, Any] | None = None,
        shard_bytes: int = SHARD_BYTES,
        rank: int = 0,
        world_size: int = 1,
        barrier: Callable[[], object] | None = None,
        overwrite: bool = False,
        of: RowsOf | None = None,
    ) -> None:
        check_processes(rank, world_size, barrier)
        if shard_bytes < 1:
            raise InputError(f"shard_bytes is {shard_bytes}, expected at least 1")
        self.path = Path(path).absolute()
        self.num_rows = 0  # written by this process so far
        self._source = check_json("source", source or {})
        self._shard_bytes, self._overwrite = shard_bytes, overwrite
        self._of = of
        self._rank, self._world_size = rank, world_size
        self._barrier = barrier or (lambda: None)
        self._staging: Staging | None = None
        self._folder = self.path  # where this process writes; set on entry
        self._layouts: dict[str, Layout] = {}
        self._buffer: RowBuffer | None = None
        self._shards: list[Shard] = []

    def __enter__(self) -> "CacheWriter":
        parent, stem = self.path.parent, f".{self.path.name}.partial"
        with write_errors(self.path):
            if self._rank == 0:
                check_target(self.path, self._overwrite)
                parent.mkdir(parents=True, exist_ok=True)
                self._staging = Staging.claim(parent, stem, shared=self._world_size > 1)
                sweep(parent, f"{stem}~", keep=self._staging.path)
                shutil.rmtree(self._staging.path / TABLE, ignore_errors=True)  # of a killed writer
                (self._staging.path / TABLE / "data").mkdir(parents=True)
            self._barrier()
            self._folder = (self._staging.path if self._staging else shared_path(parent, stem)) / TABLE
        return self

    def write(self, block: Mapping[str, Tensor]) -> None:
        """Adds rows: column name → (rows, …). The first block fixes columns, element types and shapes.

        Raises:
            InputError: the block differs from the first in columns, type or shape, or the disk refuses.
        """
        layouts = layouts_of(block)
        if self._buffer is None:
            for name in block:
                check_column_name(name)
            self._layouts = layouts
            self._buffer = RowBuffer(layouts, rows_per_shard(layouts, self._shard_bytes))
        check_same_layouts("this block", layouts, self._layouts)
        size = len(next(iter(block.values())))
        start = 0
        while start < size:
            start += self._buffer.put(block, start)
            if self._buffer.filled == self._buffer.capacity:
                self._flush(self._buffer)
        self.num_rows += size

    def _flush(self, buffer: RowBuffer) -> None:
        file = f"data/{self._rank:05d}-{len(self._shards):05d}.safetensors"
        rows = buffer.filled
        with write_errors(self.path):
            sha256, num_bytes = write_shard(self._folder / file, buffer.take())
        self._shards.append(Shard(file, rows, sha256, num_bytes))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            if self._staging is not None:
                self._staging.remove()
                self._staging = None

    def _finish(self) -> None:
        if self._buffer is not None and self._buffer.filled:
            self._flush(self._buffer)
        with write_errors(self.path):
            if self._world_size > 1:
                write_json(self._journal(self._rank), self._manifest().as_json())
            self._barrier()
            if self._rank == 0:
                self._publish(self._merged())
        self._barrier()

    def _manifest(self) -> TableManifest:
        return TableManifest(self._layouts, tuple(self._shards), self._source, self._of)

    def _journal(self, rank: int) -> Path:
        return self._folder.parent / f"rank-{rank:05d}.json"

    def _merged(self) -> TableManifest:
        """One manifest over what all ranks have written; a rank may have written nothing."""
        merged = self._manifest()
        for rank in range(1, self._world_size):
            journal = json.loads(self._journal(rank).read_bytes())
            shards = tuple(Shard(**entry) for entry in journal["shards"])
            if not shards:
                continue
            columns = columns_from_json(journal["columns"])
            if merged.columns:
                check_same_layouts(f"rank {rank}", columns, merged.columns)
            merged = replace(merged, columns=columns, shards=(*merged.shards, *shards))
        if not merged.shards:
            raise InputError(f"{self.path}: no rows were written: an empty cache is not made")
        return merged

    def _publish(self, manifest: TableManifest) -> None:
        sync_folder(self._folder / "data")
        write_json(self._folder / FILE, manifest.as_json())
        if self._overwrite and self.path.is_dir() and any(self.path.iterdir()):
            publish_over(self._folder, self.path, manifest)
            return
        try:
            os.rename(self._folder, self.path)
        except OSError:
            check_target(self.path, overwrite=False)  # another writer came first
            raise
        sync_folder(self.path.parent)


def check_processes(rank: int, world_size: int, barrier: Callable[[], object] | None) -> None:
    """One process among several knows its number and can wait for the others.

    Raises:
        InputError: the rank is not below the number of processes, or there is no barrier.
    """
    if not 0 <= rank < world_size <= 99_999:
        raise InputError(f"rank {rank} of {world_size} processes: expected 0 ≤ rank < world_size")
    if world_size > 1 and barrier is None:
        raise InputError("several processes need a barrier: give barrier=, as in trainer.strategy.barrier")


def check_target(path: Path, overwrite: bool) -> None:
    """A cache may be written there.

    Raises:
        InputError: something is there that may not be replaced.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise InputError(f"{path}: is a file, expected the folder of a cache: choose another path")
    found = {entry.name for entry in path.iterdir()}
    if found and not overwrite:
        raise InputError(f"{path}: exists already: overwrite it (--overwrite, overwrite=True) or choose another path")
    if not found <= ENTRIES:
        raise InputError(
            f"{path}: holds {min(found - ENTRIES)}, so it is no cache and is not overwritten: choose another path"
        )


def publish_over(staged: Path, target: Path, manifest: TableManifest) -> None:
    """Puts new shards beside the old ones, then the new manifest in place of the old one, then removes what is left.

    At every moment the manifest at the target names shards that are there.
    """
    with publishing(target):
        data = target / "data"
        shards = move_shards(staged, data, manifest.shards)
        manifest = replace(manifest, shards=tuple(shards))
        write_json(target / FILE, manifest.as_json())
        remove_others(data, {Path(shard.file).name for shard in shards})
        shutil.rmtree(target / "columns", ignore_errors=True)


def move_shards(staged: Path, data: Path, shards: Iterable[Shard]) -> list[Shard]:
    """Moves shards into the data folder of a cache, under numbers that no shard there has."""
    data.mkdir(exist_ok=True)
    shift = first_free_sequence(data)
    placed = []
    for shard in shards:
        rank, sequence = re.findall(r"\d+", shard.file)
        placed.append(replace(shard, file=f"data/{rank}-{int(sequence) + shift:05d}.safetensors"))
        os.rename(staged / shard.file, data.parent / placed[-1].file)
    sync_folder(data)
    return placed


def first_free_sequence(folder: Path) -> int:
    """Above every shard in a folder, so that a name never stands for two contents."""
    found = [int(path.stem.split("-")[1]) for path in folder.glob("?????-*.safetensors")]
    return max(found, default=-1) + 1


def remove_others(folder: Path, keep: set[str]) -> None:
    for path in folder.glob("*.safetensors"):
        if path.name not in keep:
            path.unlink(missing_ok=True)
