"""Parquet files, one or a folder of them."""

import json
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from lfiw.data.importers import Imported
from lfiw.data.importers.arrow import (
    BATCH_ROWS,
    ArrowFile,
    ArrowTable,
    TableOptions,
    import_arrow,
    load_pyarrow,
    provenance,
    reading,
)
from lfiw.errors import InputError, printable

BUFFER_BYTES = 1 << 20  # packed bytes of a column; by default, pyarrow reads a whole row group
MAGIC = b"PAR1"
KIND = "a Parquet file"
PART = re.compile(r"(.+)-\d+-of-\d+.*\.parquet")  # names of a data set's files, such as train-00000-of-00002.parquet


def import_parquet(path: Path, split: str | None = None, **options: Unpack[TableOptions]) -> Imported:
    """Imports the samples in a Parquet file, or in all `*.parquet` of a folder in the order of their names.

    A column of image files (binary, or structs with `bytes`, as Hugging Face writes them) becomes `image`; lists of one
    length, or columns of numbers side by side, become `vector`, float32, or float64 if a column's values need it;
    nested lists are images as in `lfiw.data.importers.arrays`. Beside images and lists, the columns `log_ratio` and
    `weight` of an export are kept. Only the rows at hand are in memory.

    Args:
        split: which split of a folder whose files are called SPLIT-00000-of-00002.parquet.
        options: which columns are the samples, and how they are read.

    Raises:
        InputError: pyarrow is not installed, a file cannot be read, values are missing or not finite, lists differ in
            length, or it is not clear which columns hold the samples.
    """
    load_pyarrow()
    paths = parquet_files(path, split)
    table = ArrowTable(path, [open_parquet(file) for file in paths])
    return import_arrow(
        table,
        provenance(path, paths) | ({"split": split} if split else {}),
        index=index_of(table.schema),
        **options,
    )


def parquet_files(path: Path, split: str | None) -> list[Path]:
    """Lists the files of a table.

    Raises:
        InputError: there are none, or those of several splits and none is chosen.
    """
    if path.is_file():
        if split is not None:
            raise InputError(f"{printable(path)}: --split goes with a folder, this is one file")
        return [path]
    if not path.is_dir():
        raise InputError(f"{printable(path)}: no such file or folder")
    if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        raise InputError(f"{printable(path)}: written by save_to_disk: import it as huggingface {path}")
    files = sorted(path.glob("*.parquet"))
    if not files:
        below = sorted({file.parent for file in path.glob("*/*.parquet")})
        hint = f": there are some in {printable(below[0])}" if below else ""
        raise InputError(f"{printable(path)}: no *.parquet file in it{hint}")
    of_split = {file: match[1] for file in files if (match := PART.fullmatch(file.name))}
    splits = sorted(set(of_split.values()))
    if split is not None:
        if split not in splits:
            raise InputError(f"{path}: --split {split}: its files are of the splits {', '.join(splits) or 'of none'}")
        return [file for file in files if of_split.get(file) == split]
    if len(splits) > 1:
        raise InputError(f"{path}: its files are of several splits: give --split, one of {', '.join(splits)}")
    return files


def open_parquet(path: Path) -> ArrowFile:
    """Reads the schema and the number of rows of a file.

    Raises:
        InputError: it is no Parquet file, or damaged.
    """
    import pyarrow.parquet

    with reading(path, KIND), open(path, "rb") as file:
        head = file.read(len(MAGIC))
    if head != MAGIC:
        what = f"it begins with {head!r}: a CSV file goes as csv {path}" if head else "it is empty"
        raise InputError(f"{printable(path)}: not a Parquet file, {what}")
    with reading(path, KIND), pyarrow.parquet.ParquetFile(path) as opened:
        return ArrowFile(path, opened.schema_arrow, opened.metadata.num_rows, partial(batches_of, path))


def batches_of(path: Path, first: int, columns: Sequence[str]) -> Iterator[Any]:
    """Yields record batches from a row on; the row groups before it are not read."""
    import pyarrow.parquet

    with reading(path, KIND), pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER_BYTES) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
        group = 0
        while group < len(sizes) and first >= sizes[group]:
            first -= sizes[group]
            group += 1
        rest = range(group, len(sizes))
        for batch in file.iter_batches(BATCH_ROWS, row_groups=rest, columns=list(columns)):
            if first < batch.num_rows:
                yield batch.slice(first)
            first = max(0, first - batch.num_rows)


def index_of(schema: Any) -> list[str]:
    """Returns the columns that pandas has written as the index of the rows."""
    try:
        written = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
        return [name for name in written.get("index_columns", []) if isinstance(name, str) and name in schema.names]
    except (ValueError, AttributeError, TypeError):
        return []
