"""Reads a cache, adds columns to it, and writes caches that refer to rows of another one by number."""

import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, SupportsIndex, TypeVar, overload

import numpy as np
import torch
from torch import Tensor

from lfiw.data.cache.column_writer import ColumnWriter
from lfiw.data.cache.manifest import (
    FILE,
    VALUES,
    ColumnManifest,
    Layout,
    RowsOf,
    Shard,
    TableManifest,
    check_column_name,
    read_column_manifest,
    read_table_manifest,
)
from lfiw.data.cache.remote import RemoteColumn, RemotePieces, is_url, open_remote
from lfiw.data.cache.shards import AGAIN, PiecedColumn, Plan, hash_file, map_shard
from lfiw.data.cache.writer import CacheWriter
from lfiw.data.table import ROW, Column, Rows, no_such_column, row_index, row_range
from lfiw.errors import InputError

M = TypeVar("M", TableManifest, ColumnManifest)
ROWS_BLOCK = 1 << 20  # row numbers per write


class SampleCache:
    """A cache, opened for reading and for adding columns.

    A cache that refers to rows of another one (`write_rows`) has all columns of that one, base and later, and `row`,
    the row numbers there. Columns added to it are its own; they take precedence over those of the same name there.

    Opening maps every shard and checks its size and header against the manifest; `verify` also checks the content.
    Batches for a `torch.utils.data.DataLoader` come from `__getitems__` as a dict of tensors: give the loader a
    `collate_fn` that returns its argument. Forked and spawned worker processes may read at the same time.

    Shards of a cache on object storage (`s3://…`, any URL of fsspec) are fetched whole on first use, checked by SHA-256
    and kept in a bounded local folder (`lfiw.data.cache.remote`). Columns added to such a cache stay on this machine.

    Args:
        path: folder that holds `manifest.json`, or its URL.

    Attributes:
        path: the folder. For a remote cache, the local one with its manifest and the columns added to it.
        url: of a remote cache; otherwise None.

    Raises:
        InputError: nothing is there, a shard is missing or truncated, the manifest is inconsistent, or the cache that
            the rows belong to is missing or was rewritten.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.url = path if isinstance(path, str) and is_url(path) else None
        self._base: Pieces | RemotePieces
        if self.url is not None:
            self.path, self._manifest, self._base = open_remote(self.url)
        else:
            self.path = Path(path).absolute()
            self._manifest, self._base = open_pieces(self.path, lambda: read_table_manifest(self.path))
        self._later: dict[str, tuple[ColumnManifest, Pieces]] = {}
        self._elsewhere: set[str] = set()  # later columns that are the other cache's
        self._of = self._open_other()
        self._rows = self._base.columns[ROW].whole() if self._of else None

    def _open_other(self) -> "SampleCache | None":
        """Opens the cache that the rows belong to, if it is another one."""
        if self._manifest.of is None:
            return None
        path = Path(os.path.normpath(self.path.resolve() / self._manifest.of.path))
        try:
            identity = read_table_manifest(path).identity
            if identity == self._manifest.of.identity:
                return SampleCache(path)
        except InputError as error:
            raise InputError(
                f"{self.path} holds rows of {path}, which cannot be read ({error}): keep the two together, or make it "
                "again"
            ) from None
        raise InputError(
            f"{self.path} holds rows of {path}, which was written again since (it is {identity[:12]}, was "
            f"{self._manifest.of.identity[:12]}): make it again"
        )

    def __len__(self) -> int:
        return self._manifest.num_rows

    def __fspath__(self) -> str:
        """Stands for its folder where a path is expected, as in `ColumnWriter(cache, …)`."""
        return str(self.path)

    def __repr__(self) -> str:
        return f"SampleCache({self.url or str(self.path)!r}): {len(self):,} rows, columns {', '.join(self.columns)}"

    @property
    def identity(self) -> str:
        """SHA-256 of the base columns: changes with any byte of them."""
        return self._manifest.identity

    @property
    def source(self) -> dict[str, Any]:
        """The samples' provenance, as their writer recorded it."""
        return self._manifest.source

    @property
    def columns(self) -> tuple[str, ...]:
        """Base columns, then the later ones that belong to this table, as they are on disk now."""
        own = (*self._manifest.base, *(name for name in self._added() if self._is_current(name)))
        return (*own, *(name for name in self._of.columns if name not in own)) if self._of else own

    def _is_elsewhere(self, name: str) -> bool:
        """Whether the column is read from the cache that the rows belong to."""
        if self._of is None:
            return False
        if name in self._manifest.base:
            return name not in self._manifest.columns
        if name not in self._elsewhere and name not in self._later:
            is_own = (self.path / "columns" / check_column_name(name) / FILE).is_file()
            if not is_own and name in self._of.columns:
                self._elsewhere.add(name)
        return name in self._elsewhere

    def _added(self) -> list[str]:
        root = self.path / "columns"
        names = []
        for folder, inner, files in os.walk(root):
            inner[:] = [name for name in inner if not name.startswith(".")]
            if FILE in files:
                names.append(Path(folder).relative_to(root).as_posix())
        return sorted(names)

    def _is_current(self, name: str) -> bool:
        return read_column_manifest(self.path / "columns" / name, name).table == self.identity

    def column(self, name: str) -> Column:
        """Returns element type and shape of one row, and the stamp of what computed the column."""
        if self._of and self._is_elsewhere(name):
            return self._of.column(name)
        if name in self._manifest.columns:
            return Column(name, *self._manifest.columns[name])
        manifest, _ = self._open_later(name)
        return Column(name, *manifest.layout, manifest.stamp)

    @overload
    def __getitem__(self, key: str) -> Tensor: ...

    @overload
    def __getitem__(self, key: Rows | SupportsIndex) -> dict[str, Tensor]: ...

    def __getitem__(self, key: str | Rows | SupportsIndex) -> Tensor | dict[str, Tensor]:
        """Returns a column by name: (rows, …), the memory map itself if it lies in one shard, otherwise a copy.

        A slice or a list of row numbers gives the base columns of those rows: name → (rows, …), copied. A single row
        number gives the same without the first axis.

        Raises:
            InputError: there is no such column or row.
        """
        if isinstance(key, str):
            if self._is_elsewhere(key):
                return self.read(slice(None), [key])[key]
            return self._find(key)[0].whole()
        base = tuple(self._manifest.base)
        if isinstance(key, SupportsIndex) and not isinstance(key, (Tensor, np.ndarray)):
            return {name: values[0] for name, values in self.read([operator.index(key)], base).items()}
        return self.read(key, base)

    def read(self, rows: Rows, columns: Sequence[str]) -> dict[str, Tensor]:
        """Reads rows of the named columns, base or later: name → (rows, …), copied.

        Raises:
            InputError: there is no such column or row, or the column was computed from another version of this table.
        """
        if self._of and self._rows is not None and (others := [name for name in columns if self._is_elsewhere(name)]):
            where = slice(*row_range(rows, len(self))) if isinstance(rows, slice) else row_index(rows, len(self))
            values = self._of.read(self._rows[where], others)
            values |= self.read(rows, [name for name in columns if name not in others])
            return {name: values[name] for name in columns}
        here = {name: self._find(name) for name in columns}
        if isinstance(rows, slice):
            start, stop = row_range(rows, len(self))
            return {name: column.range(start, stop, bounds) for name, (column, bounds) in here.items()}
        index = row_index(rows, len(self))
        plans = {id(bounds): Plan(index, bounds) for _, bounds in here.values()}
        return {name: column.take(plans[id(bounds)]) for name, (column, bounds) in here.items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Reads one batch of the base columns for a data loader."""
        return self.read(indices, tuple(self._manifest.base))

    def _find(self, name: str) -> tuple[PiecedColumn | RemoteColumn, Tensor]:
        """Returns one of this cache's own columns and the row bounds of its shards."""
        if name in self._manifest.columns:
            return self._base.columns[name], self._base.bounds
        _, pieces = self._open_later(name)
        return pieces.columns[VALUES], pieces.bounds

    def _open_later(self, name: str) -> "tuple[ColumnManifest, Pieces]":
        if name not in self._later:
            folder = self.path / "columns" / check_column_name(name)
            if not (folder / FILE).is_file():
                raise no_such_column(name, self.columns)
            self._later[name] = self._read_later(folder, name)
        return self._later[name]

    def _read_later(self, folder: Path, name: str) -> "tuple[ColumnManifest, Pieces]":
        def read() -> ColumnManifest:
            manifest = read_column_manifest(folder, name)
            if manifest.table != self.identity or manifest.num_rows != len(self):
                raise InputError(
                    f"{folder}: this column was computed from another version of the table (it names "
                    f"{manifest.table[:12]}, the table is {self.identity[:12]}): compute it again"
                )
            return manifest

        return open_pieces(folder, read)

    def add_column(self, name: str, values: Tensor | Iterable[Tensor], *, stamp: Mapping[str, Any]) -> None:
        """Adds a column, or replaces an earlier one.

        Args:
            name: the column's, such as `features/pixels`.
            values: (rows, …), or blocks that together are all rows in order.
            stamp: what computed it, kept beside it: name, SHA-256 of the weights, preprocessing, …

        Raises:
            InputError: there are too few or too many rows, the name is not allowed or that of a base column, or the
                folder cannot be written.
        """
        if read_table_manifest(self.path).identity != self.identity:
            raise InputError(f"{self.path}: the cache was overwritten since it was opened: open it again")
        with ColumnWriter(self, name, stamp=stamp, part_rows=len(self), resume=False) as writer:
            start = 0
            for block in (values,) if isinstance(values, Tensor) else values:
                writer.write(start, block)
                start += len(block)
            if start != len(self):
                raise InputError(f"{name}: {start:,} values for {len(self):,} rows: give one for each row")
        self._later.pop(name, None)
        self._elsewhere.discard(name)

    def refresh(self) -> None:
        """Closes the later columns, so that the next access sees what was written meanwhile."""
        self._later.clear()
        self._elsewhere.clear()
        if self._of:
            self._of.refresh()

    def verify(self) -> None:
        """Recomputes the SHA-256 of every shard: base columns, later ones, and the cache that the rows belong to.

        Raises:
            InputError: a shard's content is not what was written; the message names the first one.
        """
        if isinstance(self._base, RemotePieces):
            self._base.verify()
        else:
            check_hashes(self.path, self._manifest.shards)
        for name in self._added():
            folder = self.path / "columns" / name
            manifest, _ = self._read_later(folder, name)
            check_hashes(folder, manifest.shards)
        if self._of:
            self._of.verify()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.url or self.path, "identity": self.identity}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]
        if self.identity != state["identity"]:
            raise InputError(f"{state['path']}: the cache was overwritten since it was opened: start again")


class Pieces:
    """The mapped shards of columns with the same row bounds: `columns[name]`, and the `bounds`."""

    def __init__(self, folder: Path, shards: Sequence[Shard], layouts: Mapping[str, Layout]) -> None:
        maps = [map_shard(folder / shard.file, shard, layouts) for shard in shards]
        self.columns = {name: PiecedColumn([views[name] for views in maps]) for name in layouts}
        self.bounds = torch.tensor([0, *(shard.num_rows for shard in shards)]).cumsum(0)


def open_pieces(folder: Path, read: Callable[[], M]) -> tuple[M, Pieces]:
    """Opens a manifest and the shards that it names.

    A writer that replaces them puts the new manifest in place before it removes the old shards; if a shard is gone,
    both are read again.
    """
    while True:
        manifest = read()
        try:
            return manifest, Pieces(folder, manifest.shards, manifest.columns)
        except InputError:
            if read().shards == manifest.shards:
                raise


def check_hashes(folder: Path, shards: Iterable[Shard]) -> None:
    for shard in shards:
        path = folder / shard.file
        try:
            digest = hash_file(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}): {AGAIN}") from None
        if digest != shard.sha256:
            raise InputError(f"{path}: the content is not what was written (SHA-256 differs): {AGAIN}")


def write_rows(
    path: str | os.PathLike[str],
    table: SampleCache,
    rows: Tensor | np.ndarray | list[int],
    *,
    source: Mapping[str, Any],
    overwrite: bool = False,
) -> None:
    """Writes a cache that refers to rows of `table` by number, in the given order; repeats are allowed.

    It reads like any other (`SampleCache`): it has all columns of `table`, including those added later, and takes
    columns of its own. It stores the relative path of the table and its identity: a rewritten table is refused.

    Args:
        path: the folder to create.
        rows: whole numbers in 0 … len(table) − 1, at least one.
        source: provenance, saved as JSON.
        overwrite: replace an existing cache.

    Raises:
        InputError: there is no row, the table lacks one, or the path is taken, is the table itself, or cannot be
            written.
    """
    index = row_index(rows, len(table))
    if Path(path).resolve() == table.path.resolve():
        raise InputError(f"{path}: the rows of a cache cannot replace it: choose another path")
    where = os.path.relpath(table.path.resolve(), Path(path).resolve())
    of = RowsOf(where, table.identity, read_table_manifest(table.path).base)
    with CacheWriter(path, source=source, overwrite=overwrite, of=of) as writer:
        for block in index.split(ROWS_BLOCK):
            if len(block):
                writer.write({ROW: block})
