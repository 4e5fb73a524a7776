"""Columns of Arrow tables, read some rows at a time: what Parquet files and Hugging Face data sets have in common."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path, PurePosixPath
from typing import Any, TypedDict, overload

import numpy as np
import torch
from torch import Tensor

from lfiw.data.cache.shards import hash_file
from lfiw.data.importers import BLOCK_ROWS, Imported
from lfiw.data.importers.arrays import Labels, read_labels, reader
from lfiw.data.importers.columns import ARRAY, IMAGE, NUMBER, OTHER, Chosen, Field, choose_columns
from lfiw.data.importers.folders import ImageFiles, surveyed
from lfiw.data.precision import EXACT
from lfiw.errors import InputError, first_line, printable
from lfiw.tensors import to_tensor

BATCH_ROWS = 1024  # decoded at once


def load_pyarrow() -> Any:
    """Imports pyarrow, whose arrays and types are `Any` here.

    Raises:
        InputError: it is not installed.
    """
    try:
        import pyarrow
    except ImportError:
        raise InputError("Parquet files and Hugging Face data sets need pyarrow: pip install 'lfiw[parquet]'") from None
    return pyarrow


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turns what pyarrow says of a file into one line.

    Args:
        kind: what the file should be.
    """
    pyarrow = load_pyarrow()
    try:
        yield
    except (pyarrow.ArrowException, OSError, ValueError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        reason = printable(first_line(error))
        raise InputError(f"{printable(path)}: cannot be read, damaged or not {kind} ({reason})") from None


@dataclass(frozen=True)
class ArrowFile:
    """One file of a table.

    Args:
        schema: of pyarrow.
        batches: (first row, columns) → record batches from that row on.
    """

    path: Path
    schema: Any
    num_rows: int
    batches: Callable[[int, Sequence[str]], Iterator[Any]]


class ArrowTable:
    """The rows of several files, in order. Rows that are read in order are decoded once.

    Args:
        where: the file or folder, for messages.

    Raises:
        InputError: there is no row, two columns have one name, or the files differ in their columns.
    """

    def __init__(self, where: Path, files: Sequence[ArrowFile]) -> None:
        self.where, self.files = where, list(files)
        self.num_rows = sum(file.num_rows for file in files)
        self.schema = files[0].schema
        names = list(self.schema.names)
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(f"{where}: two columns are called {twice[0]!r}: rename one of them")
        for file in files[1:]:
            check_same_columns(files[0], file)
        if not self.num_rows:
            raise InputError(f"{where}: there is no row in it")
        self._starts = [0, *accumulate(file.num_rows for file in files)][:-1]
        self._next: tuple[int, tuple[str, ...]] | None = None  # row and columns with which the batches continue
        self._batches: Iterator[Any] = iter(())
        self._rest: Any = None

    def read(self, start: int, stop: int, names: Sequence[str]) -> dict[str, Any]:
        """Reads rows as column name → pyarrow array."""
        wanted = tuple(names)
        if self._next != (start, wanted):
            self._batches, self._rest = self._from(start, wanted), None
        parts, absent = [], stop - start
        while absent:
            batch = next(self._batches, None) if self._rest is None else self._rest
            if batch is None:
                raise InputError(f"{self.where}: has fewer rows than it says: it is damaged, write it again")
            taken = min(absent, batch.num_rows)
            parts.append(batch.slice(0, taken))
            self._rest = batch.slice(taken) if taken < batch.num_rows else None
            absent -= taken
        self._next = (stop, wanted)
        concatenate = load_pyarrow().concat_arrays
        return {name: concatenate([part.column(name) for part in parts]) for name in wanted}

    def _from(self, start: int, names: Sequence[str]) -> Iterator[Any]:
        for file, first in zip(self.files, self._starts, strict=True):
            if first + file.num_rows > start:
                yield from file.batches(max(0, start - first), names)

    def column(self, name: str) -> np.ndarray:
        """Reads a whole column of one number per row."""
        ends = [*range(0, self.num_rows, BLOCK_ROWS), self.num_rows]
        return np.concatenate([self.arrays(start, stop, [name])[0] for start, stop in pairwise(ends)])

    def arrays(self, start: int, stop: int, names: Sequence[str]) -> list[np.ndarray]:
        """Reads rows of some columns, (stop - start, …) each.

        Raises:
            InputError: a value is missing, or lists differ in length.
        """
        found = self.read(start, stop, names)
        return [stacked(found[name], f"{self.where}: column {name!r}", start) for name in names]


def check_same_columns(first: ArrowFile, other: ArrowFile) -> None:
    """Raises InputError where two files of a table differ in the names or types of their columns."""
    there, here = ({name: str(file.schema.field(name).type) for name in file.schema.names} for file in (first, other))
    for name in {**there, **here}:
        if there.get(name) != here.get(name):
            what = [of.get(name, "missing") for of in (here, there)]
            raise InputError(
                f"{other.path}: column {name!r} is {what[0]}, in {first.path.name} it is {what[1]}: give files of one "
                "table"
            )


def storage_type(kind: Any) -> Any:
    """Returns the type below an extension type, such as Hugging Face's Array2D."""
    return kind.storage_type if isinstance(kind, load_pyarrow().BaseExtensionType) else kind


def is_list(kind: Any) -> bool:
    types = load_pyarrow().types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def is_number(kind: Any) -> bool:
    types = load_pyarrow().types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def is_binary(kind: Any) -> bool:
    types = load_pyarrow().types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


def field_of(kind: Any) -> Field:
    """Describes what a column of this pyarrow type holds."""
    stored = storage_type(kind)
    if is_number(stored):
        return Field(NUMBER, str(stored))
    if load_pyarrow().types.is_struct(stored):
        of_bytes = stored.get_field_index("bytes")
        return Field(IMAGE if of_bytes >= 0 and is_binary(stored.field(of_bytes).type) else OTHER, str(stored))
    inner = stored
    while is_list(inner):
        inner = storage_type(inner.value_type)
    if is_binary(stored) or inner is stored:
        return Field(IMAGE if is_binary(stored) else OTHER, str(stored))
    return Field(ARRAY if is_number(inner) else OTHER, str(stored))


def stacked(values: Any, what: str, first: int, rows: int | None = None) -> np.ndarray:
    """Converts a pyarrow array of numbers, or of lists of them, to an array (n, …).

    Args:
        what: the column, for messages.
        first: number of its first row.
        rows: how many they are; values of lists are more.

    Raises:
        InputError: a value is missing, or lists differ in length.
    """
    count = len(values) if rows is None else rows
    shape = getattr(values.type, "shape", None)  # of a tensor type
    if isinstance(values.type, load_pyarrow().BaseExtensionType):
        values = values.storage
    if values.null_count:
        row = first + int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0]) * count // len(values)
        raise InputError(f"{what} has no value in row {row:,}: fill it, or drop the row")
    if not is_list(values.type):
        return np.asarray(values.to_numpy(zero_copy_only=False))
    lengths = list_lengths(values)
    if len(odd := np.flatnonzero(lengths != lengths[0])):
        raise InputError(
            f"{what}, row {first + int(odd[0]) * count // len(values):,}: a list of {lengths[odd[0]]:,}, those before "
            f"it have {lengths[0]:,}: expected lists of one length"
        )
    inner = stacked(values.flatten(), what, first, count) if lengths[0] else np.empty(0)
    found = inner.reshape(len(values), int(lengths[0]), *inner.shape[1:])
    is_tensor = isinstance(shape, list | tuple) and int(np.prod(shape)) == lengths[0]
    return found.reshape(len(values), *shape) if is_tensor and shape else found


def list_lengths(values: Any) -> np.ndarray:
    if load_pyarrow().types.is_fixed_size_list(values.type):
        return np.full(len(values), values.type.list_size)
    return np.asarray(values.value_lengths().to_numpy(zero_copy_only=False))


class ArrowVectors:
    """Columns of a table as one array (`lfiw.tensors.RowArray`), read when it is sliced.

    Args:
        names: one column of numbers or arrays, or several of numbers, side by side.

    Raises:
        InputError: (when sliced) a value is missing, not finite or above what float64 holds, or lists differ in length.
    """

    def __init__(self, table: ArrowTable, names: Sequence[str], kind: str) -> None:
        self._table, self._names, self._kind = table, list(names), kind
        first = self._read(0, 1)
        self.dtype = np.result_type(*(np.uint8 if part.dtype == bool else part.dtype for part in first))
        self.shape = (table.num_rows, *(first[0].shape[1:] if kind == ARRAY else (len(names),)))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        parts = self._read(start, stop)
        for name, part in zip(self._names, parts, strict=True):
            self._check(name, part, start)
        return (parts[0] if self._kind == ARRAY else np.column_stack(parts)).astype(self.dtype, copy=False)

    def _read(self, start: int, stop: int) -> list[np.ndarray]:
        return self._table.arrays(start, stop, self._names)

    def _check(self, name: str, values: np.ndarray, start: int) -> None:
        where = f"{self._table.where}: column {name!r}"
        if self._kind == ARRAY and values.shape[1:] != self.shape[1:]:
            raise InputError(
                f"{where}, row {start:,}: {values.shape[1:]} numbers, row 0 has {self.shape[1:]}: expected one shape"
            )
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))[0])
            raise InputError(f"{where} is NaN or infinite in row {start + row:,}: drop or fill such rows")
        if values.dtype.kind in "iu" and self.dtype.kind == "f" and max(-int(values.min()), int(values.max())) > EXACT:
            raise InputError(f"{where} has whole numbers above 2⁵³, more than {self.dtype} holds: subtract a constant")


class RowNames(Sequence[PurePosixPath]):
    """Names of the rows of a table, for messages about the images in them: `row 0`, `row 1`, …"""

    def __init__(self, num_rows: int) -> None:
        self._rows = range(num_rows)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, key: int) -> PurePosixPath: ...

    @overload
    def __getitem__(self, key: slice) -> list[PurePosixPath]: ...

    def __getitem__(self, key: int | slice) -> PurePosixPath | list[PurePosixPath]:
        found = self._rows[key]
        return PurePosixPath(f"row {found}") if isinstance(found, int) else [PurePosixPath(f"row {n}") for n in found]


def row_of(name: PurePosixPath) -> int:
    return int(name.name.removeprefix("row "))


class TableOptions(TypedDict, total=False):
    """How samples are read from Parquet files and Hugging Face data sets.

    Attributes:
        columns: the columns that hold the samples. By default those of images, or lists, or all numbers.
        without: columns to leave out.
        label: column of the classes, whole numbers from 0. By default label, labels or fine_label.
        size, skip_bad: for image files, as in `lfiw.data.importers.folders.import_folder`.
        layout, value_range: for nested lists, as in `lfiw.data.importers.arrays.import_arrays`.
    """

    columns: Sequence[str] | None
    without: Sequence[str]
    label: str | None
    size: int | None
    skip_bad: bool
    layout: str | None
    value_range: str | None


def import_arrow(
    table: ArrowTable,
    source: dict[str, Any],
    *,
    index: Sequence[str] = (),
    classes: Mapping[str, Sequence[str]] | None = None,
    columns: Sequence[str] | None = None,
    without: Sequence[str] = (),
    label: str | None = None,
    size: int | None = None,
    skip_bad: bool = False,
    layout: str | None = None,
    value_range: str | None = None,
) -> Imported:
    """Imports samples of an Arrow table.

    Args:
        source: provenance, so far.
        index: columns that number the rows.
        classes: column of classes → their names.
        columns, …: as in `TableOptions`.
    """
    fields = {name: field_of(table.schema.field(name).type) for name in table.schema.names}
    chosen = choose_columns(table.where, fields, columns, without, label, index)
    labels, notes = labels_of(table, chosen, required=label is not None)
    others = {name: to_tensor(table.column(name), name).double() for name in chosen.kept}
    if labels is not None:
        others = {"label": labels.values, **others}
        notes.append(f"labels from {labels.name}{labels.note and f', {labels.note}'}")
        if names := (classes or {}).get(labels.name):
            source = {**source, "classes": list(names)}
    if chosen.kept:
        notes.append(f"columns kept: {', '.join(chosen.kept)}")
    notes += chosen.notes
    if chosen.kind == IMAGE:
        if layout or value_range:
            raise InputError(f"{table.where}: images of {chosen.samples[0]} are files: leave out --layout and --range")
        return imported_images(table, chosen.samples[0], others, source, notes, size, skip_bad)
    if size is not None or skip_bad:
        raise InputError(f"{table.where}: {chosen.samples[0]} holds no image files: leave out --size and --skip-bad")
    samples = ArrowVectors(table, chosen.samples, chosen.kind)
    try:
        if 0 in samples.shape:
            raise InputError(f"lists of {chosen.samples[0]} are empty")
        column, read, found = reader(samples, layout, value_range)
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(str(table.where)) else f"{table.where}: {text}") from None
    named = ", ".join(chosen.samples)
    notes = [*found, f"from {'the columns ' if len(chosen.samples) > 1 else ''}{named}", *notes]

    def rows(start: int, stop: int) -> dict[str, Tensor]:
        return {column: read(samples[start:stop]), **{name: values[start:stop] for name, values in others.items()}}

    source = {**source, "columns": list(chosen.samples), "notes": notes}
    return Imported(source, tuple(notes), table.num_rows, rows)


def labels_of(table: ArrowTable, chosen: Chosen, required: bool) -> tuple[Labels | None, list[str]]:
    """Reads the classes, and notes why they are none.

    Args:
        required: they must be classes.
    """
    if chosen.label is None:
        return None, []
    try:
        return read_labels(chosen.label, table.column(chosen.label), table.num_rows), []
    except InputError as error:
        if required:
            raise InputError(f"{table.where}: --label {chosen.label}: {error}") from None
        return None, [f"ignored: {chosen.label} ({error})"]


def imported_images(
    table: ArrowTable,
    column: str,
    others: dict[str, Tensor],
    source: dict[str, Any],
    notes: list[str],
    size: int | None,
    skip_bad: bool,
) -> Imported:
    """Imports image files that are the values of a column; a struct has them as its `bytes`."""

    def content(name: PurePosixPath) -> bytes:
        row = row_of(name)
        (value,) = table.read(row, row + 1, [column])[column].to_pylist()
        found = value.get("bytes") if isinstance(value, dict) else value
        if found is None:
            path = f", only the path {value['path']!r}" if isinstance(value, dict) and value.get("path") else ""
            raise InputError(
                f"{table.where}: column {column!r} has no image in row {row:,}{path}: put the files' bytes into it, or "
                "leave the row out with --skip-bad"
            )
        return bytes(found)

    images = surveyed(ImageFiles(table.where, RowNames(table.num_rows), content), size, skip_bad)
    notes = [f"{len(images.names):,} images, {images.colour}", f"from {column}", *images.notes, *notes]

    def read(start: int, stop: int) -> dict[str, Tensor]:
        rows = torch.tensor([row_of(name) for name in images.names[start:stop]])
        return {"image": images.read(start, stop), **{name: values[rows] for name, values in others.items()}}

    source = {**source, "columns": [column], "notes": notes}
    return Imported(source, tuple(notes), len(images.names), read, images.block_rows)


def provenance(path: Path, files: Sequence[Path]) -> dict[str, Any]:
    """Name and SHA-256 of a file; of a folder, the SHA-256 over the names and hashes of its files."""
    name = printable(path.resolve().name)
    if path.is_file():
        return {"file": name, "sha256": hash_file(path)}
    lines = "".join(f"{file.name} {hash_file(file)}\n" for file in files)
    digest = hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
    return {"folder": name, "files": len(files), "sha256": digest}
