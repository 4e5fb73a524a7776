"""What a cache can hold, and its two kinds of JSON files: the table's manifest and that of each later column.

They come from outside, so they are read strictly. Pydantic is not used: its errors would have to be turned into one
line that names the file, the key and what was expected, and it would collect one for each of a million forged shards.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from stat import S_ISREG
from typing import Any

import torch
from torch import Tensor

from lfiw.data.table import ROW
from lfiw.errors import InputError

FILE = "manifest.json"
TABLE_FORMAT, ROWS_FORMAT, COLUMN_FORMAT, VERSION = "lfiw-cache", "lfiw-rows", "lfiw-column", 1
VALUES = "values"  # the one tensor in a shard of a later column
TABLE_SHARD = re.compile(r"data/\d{5}-\d{5,9}\.safetensors")
COLUMN_SHARD = re.compile(r"\d{5}-\d{5,9}\.safetensors")
SHA256 = re.compile(r"[0-9a-f]{64}")
MAX_AXES, MAX_COUNT = 8, 1 << 62
MAX_BYTES = 1 << 28  # of a manifest: more than a million shards

SEGMENT = re.compile(r"[A-Za-z0-9_@=+-][A-Za-z0-9_.@=+-]*")  # of a column name: it becomes a folder inside the cache
MAX_LENGTH = 200

CODES = {  # the element types, and their codes in a safetensors header
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
}
BY_NAME = {str(dtype).removeprefix("torch."): dtype for dtype in CODES}

Layout = tuple[torch.dtype, tuple[int, ...]]  # of one row


def dtype_name(dtype: torch.dtype) -> str:
    """Returns the name in a manifest: `torch.uint8` → "uint8".

    Raises:
        InputError: a cache cannot hold this type.
    """
    if dtype not in CODES:
        raise InputError(f"a cache cannot hold {dtype}: convert to one of {', '.join(BY_NAME)}")
    return str(dtype).removeprefix("torch.")


def check_column_name(name: str) -> str:
    """Returns the name, such as `image` or `features/pixels`, if it is allowed.

    A part does not start with a dot (hidden folders are unfinished work) and does not end like the cache's own files.

    Raises:
        InputError: the name is not one or more segments of letters, digits and `_ - . @ = +` joined by single slashes.
    """
    segments = name.split("/")
    allowed = all(SEGMENT.fullmatch(part) and not part.endswith((".json", ".safetensors")) for part in segments)
    if not allowed or len(name) > MAX_LENGTH or name == "__metadata__":
        raise InputError(
            f"{name[:MAX_LENGTH]!r} cannot name a column: use letters, digits and _ - . @ = +, parts joined by single "
            f"slashes, no part starting with a dot or ending in .json or .safetensors, at most {MAX_LENGTH} characters"
        )
    return name


def layouts_of(block: Mapping[str, Tensor]) -> dict[str, Layout]:
    """Returns element type and shape of one row for each column.

    Raises:
        InputError: there is no column, lengths differ, or a cache cannot hold a type or shape.
    """
    if not block:
        raise InputError("a block without columns: give a mapping from column name to tensor")
    for name, values in block.items():
        if values.ndim < 1 or values.ndim > MAX_AXES + 1 or 0 in values.shape[1:]:
            raise InputError(
                f"{name} has shape {tuple(values.shape)}: expected (rows, …), at most {MAX_AXES} more axes, none empty"
            )
        dtype_name(values.dtype)
    lengths = {name: len(values) for name, values in block.items()}
    if len(set(lengths.values())) != 1:
        raise InputError(f"the columns of a block have different numbers of rows: {lengths}")
    return {name: (values.dtype, tuple(values.shape[1:])) for name, values in block.items()}


def check_same_layouts(what: str, found: Mapping[str, Layout], expected: Mapping[str, Layout]) -> None:
    """Checks that a block has the same layout as the blocks before it.

    Raises:
        InputError: `found` differs from `expected`.
    """
    if dict(found) != dict(expected):
        raise InputError(f"{what} has {show(found)}, expected {show(expected)}: all blocks must be alike")


def show(layouts: Mapping[str, Layout]) -> str:
    return ", ".join(f"{name} {dtype_name(dtype)} {list(shape)}" for name, (dtype, shape) in layouts.items())


@dataclass(frozen=True)
class Shard:
    """One file: its path inside the manifest's folder, and what its content has to be."""

    file: str
    num_rows: int
    sha256: str
    num_bytes: int


@dataclass(frozen=True)
class RowsOf:
    """Another cache, whose rows a cache holds by number."""

    path: str  # relative to the folder of the cache that holds them
    identity: str
    columns: dict[str, Layout]  # its base columns

    def as_json(self) -> dict[str, object]:
        return {**vars(self), "columns": columns_as_json(self.columns)}


@dataclass(frozen=True)
class TableManifest:
    """The base columns of a cache."""

    columns: dict[str, Layout]  # in the shards
    shards: tuple[Shard, ...]
    source: dict[str, Any]
    of: RowsOf | None = None  # the cache that has the rows' other columns

    @property
    def base(self) -> dict[str, Layout]:
        """Returns all base columns, those of the other cache first."""
        others = self.of.columns if self.of else {}
        return {**{name: layout for name, layout in others.items() if name not in self.columns}, **self.columns}

    @property
    def num_rows(self) -> int:
        return sum(shard.num_rows for shard in self.shards)

    @property
    def identity(self) -> str:
        """SHA-256 over columns and shard hashes: equal for equal content, whatever the file names."""
        shards = [[shard.num_rows, shard.sha256] for shard in self.shards]
        content: dict[str, object] = {"columns": columns_as_json(self.columns), "shards": shards}
        if self.of:
            content["of"] = self.of.identity
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def as_json(self) -> dict[str, object]:
        return {
            "format": ROWS_FORMAT if self.of else TABLE_FORMAT,
            "version": VERSION,
            "num_rows": self.num_rows,
            **({"of": self.of.as_json()} if self.of else {}),
            "columns": columns_as_json(self.columns),
            "shards": [asdict(shard) for shard in self.shards],
            "source": self.source,
            "identity": self.identity,
        }


@dataclass(frozen=True)
class ColumnManifest:
    """A column that was computed from a table."""

    name: str
    layout: Layout
    shards: tuple[Shard, ...]
    table: str  # identity of the table whose rows these are
    stamp: dict[str, Any]  # what computed it: name, SHA-256 of the weights, preprocessing, …

    @property
    def columns(self) -> dict[str, Layout]:
        """Returns the one column that the shards hold."""
        return {VALUES: self.layout}

    @property
    def num_rows(self) -> int:
        return sum(shard.num_rows for shard in self.shards)

    def as_json(self) -> dict[str, object]:
        return {
            "format": COLUMN_FORMAT,
            "version": VERSION,
            "column": self.name,
            **layout_as_json(self.layout),
            "num_rows": self.num_rows,
            "table": self.table,
            "shards": [asdict(shard) for shard in self.shards],
            "stamp": self.stamp,
        }


def layout_as_json(layout: Layout) -> dict[str, object]:
    return {"dtype": dtype_name(layout[0]), "shape": list(layout[1])}


def columns_as_json(columns: Mapping[str, Layout]) -> dict[str, object]:
    return {name: layout_as_json(layout) for name, layout in columns.items()}


def check_json(what: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Copies a free-form mapping as it will read back from its file.

    Raises:
        InputError: it is not made of strings, finite numbers, booleans, lists and mappings.
    """
    try:
        return dict(json.loads(json.dumps(dict(value), allow_nan=False)))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{what} cannot be kept as JSON ({error}): use strings, numbers, lists and mappings") from None


def read_table_manifest(folder: Path) -> TableManifest:
    """Reads `folder/manifest.json` of a cache.

    Raises:
        InputError: it is missing, belongs to something else, or is inconsistent.
    """
    fields = Fields.read(folder / FILE, TABLE_FORMAT, ROWS_FORMAT)
    columns = fields.columns()
    of = rows_of_from(fields, columns) if fields.values["format"] == ROWS_FORMAT else None
    manifest = TableManifest(columns, fields.shards(TABLE_SHARD), fields.get("source", dict), of)
    fields.check_rows(manifest.num_rows)
    if fields.get("identity", str) != manifest.identity:
        raise fields.error("identity", f"{manifest.identity} from its shards and columns")
    return manifest


def rows_of_from(fields: "Fields", columns: Mapping[str, Layout]) -> RowsOf:
    if columns != {ROW: (torch.int64, ())}:
        raise fields.error("columns", f"{ROW} alone, int64")
    if "of" not in fields.values:
        raise fields.error("of", "the cache whose rows these are")
    inside = fields.inside(fields.values, "of")
    identity, path = inside.digest("identity"), inside.get("path", str)
    if not is_file_name(path):
        raise inside.error("path", "that of a folder")
    return RowsOf(path, identity, inside.columns())


def is_file_name(path: str) -> bool:
    """Whether the operating system accepts this as a file name."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON allows
        return False


def read_column_manifest(folder: Path, name: str) -> ColumnManifest:
    """Reads `folder/manifest.json` of the later column `name`.

    Raises:
        InputError: it is missing, belongs to another column, or is inconsistent.
    """
    fields = Fields.read(folder / FILE, COLUMN_FORMAT)
    if fields.get("column", str) != name:
        raise fields.error("column", repr(name))
    layout, shards = fields.layout(), fields.shards(COLUMN_SHARD)
    manifest = ColumnManifest(name, layout, shards, fields.digest("table"), fields.get("stamp", dict))
    fields.check_rows(manifest.num_rows)
    return manifest


@dataclass(frozen=True)
class Fields:
    """Typed look-ups in a parsed manifest; errors name the file and the key."""

    path: Path
    values: dict[str, Any]
    prefix: str = ""

    @classmethod
    def read(cls, path: Path, *formats: str) -> "Fields":
        try:
            info = path.stat()
            if not S_ISREG(info.st_mode) or info.st_size > MAX_BYTES:
                raise InputError(f"{path}: not a file of at most {MAX_BYTES:,} bytes: write this cache or column again")
            values = json.loads(path.read_bytes())
        except InputError:
            raise
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(f"{path.parent}: no cache there (no {FILE}): check the path, or write it first") from None
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        except (ValueError, RecursionError):
            raise InputError(
                f"{path}: not valid JSON: the file was changed; write this cache or column again"
            ) from None
        if not isinstance(values, dict) or values.get("format") not in formats:
            raise InputError(f'{path}: "format" is not "{formats[0]}": this is another kind of file')
        if values.get("version") != VERSION:
            raise InputError(f"{path}: version {values.get('version')!r}, this lfiw reads {VERSION}: upgrade lfiw")
        return cls(path, values)

    def error(self, key: str, expected: str) -> InputError:
        actual = repr(self.values[key]) if key in self.values else "missing"
        actual = actual if len(actual) <= 80 else actual[:77] + "…"
        return InputError(
            f"{self.path}: {self.prefix}{key} is {actual}, expected {expected}: write this cache or column again"
        )

    def get(self, key: str, kind: type) -> Any:
        value = self.values.get(key)
        if type(value) is not kind:
            raise self.error(key, {dict: "a mapping", list: "a list", str: "a text", int: "a whole number"}[kind])
        return value

    def count(self, key: str) -> int:
        value = self.get(key, int)
        if not 1 <= value <= MAX_COUNT:
            raise self.error(key, f"a number from 1 to {MAX_COUNT}")
        return value

    def digest(self, key: str) -> str:
        value: str = self.get(key, str)
        if not SHA256.fullmatch(value):
            raise self.error(key, "64 hexadecimal digits")
        return value

    def inside(self, entries: dict[str, Any] | list[Any], key: str | int) -> "Fields":
        entry = entries[key]  # type: ignore[index]
        if not isinstance(entry, dict):
            raise InputError(f"{self.path}: the entry {key} is not a mapping: write this cache or column again")
        return Fields(self.path, entry, f"{self.prefix}{key}.")

    def layout(self) -> Layout:
        name, shape = self.get("dtype", str), self.get("shape", list)
        if name not in BY_NAME:
            raise self.error("dtype", f"one of {', '.join(BY_NAME)}")
        sizes = all(type(size) is int and 1 <= size <= MAX_COUNT for size in shape)
        if not sizes or len(shape) > MAX_AXES or prod(shape) > MAX_COUNT:
            raise self.error("shape", f"at most {MAX_AXES} positive numbers")
        return BY_NAME[name], tuple(shape)

    def columns(self) -> dict[str, Layout]:
        entries = self.get("columns", dict)
        for name in entries:
            try:
                check_column_name(name)
            except InputError as error:
                raise InputError(f"{self.path}: {error}") from None
        if not entries:
            raise self.error("columns", "at least one column")
        return {name: self.inside(entries, name).layout() for name in entries}

    def shards(self, name: re.Pattern[str]) -> tuple[Shard, ...]:
        entries = self.get("shards", list)
        if not entries:
            raise self.error("shards", "at least one shard")
        shards = []
        for index in range(len(entries)):
            entry = self.inside(entries, index)
            file, sha256 = entry.get("file", str), entry.digest("sha256")
            if not name.fullmatch(file):
                raise entry.error("file", "<rank>-<sequence>.safetensors inside this folder")
            shards.append(Shard(file, entry.count("num_rows"), sha256, entry.count("num_bytes")))
        if len({shard.file for shard in shards}) != len(shards):
            raise InputError(f"{self.path}: a shard is listed twice: write this cache or column again")
        return tuple(shards)

    def check_rows(self, in_shards: int) -> None:
        if self.count("num_rows") != in_shards:
            raise self.error("num_rows", f"{in_shards:,}, the sum over its shards")
