"""A cache that holds rows of another one by their numbers: nothing is copied."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lfiw.data.cache.manifest import RowsOf, read_table_manifest
from lfiw.data.cache.sample_cache import SampleCache
from lfiw.data.cache.writer import CacheWriter
from lfiw.data.table import ROW, row_index
from lfiw.errors import InputError

BLOCK = 1 << 20  # row numbers written at a time


def write_rows(
    path: str | os.PathLike[str],
    table: SampleCache,
    rows: Tensor | np.ndarray | list[int],
    *,
    source: Mapping[str, Any],
    overwrite: bool = False,
) -> None:
    """Writes a cache whose rows are those of `table`, by number, in the order given; repeats are allowed.

    It reads like any other (`SampleCache`), with all columns of `table`, also those added to it later on, and takes
    columns of its own. It keeps the table's place relative to its own, and its identity: a table that was written again
    is refused.

    Args:
        path: folder to make.
        rows: whole numbers in 0 … len(table) − 1, at least one.
        source: provenance, kept as JSON.
        overwrite: replace the cache that is there.

    Raises:
        InputError: no row, one that the table does not have, or the path is taken, is the table itself, or cannot be
            written.
    """
    index = row_index(rows, len(table))
    if Path(path).resolve() == table.path.resolve():
        raise InputError(f"{path}: the rows of a cache cannot replace it: choose another path")
    where = os.path.relpath(table.path.resolve(), Path(path).resolve())
    of = RowsOf(where, table.identity, read_table_manifest(table.path).base)
    with CacheWriter(path, source=source, overwrite=overwrite, of=of) as writer:
        for block in index.split(BLOCK):
            if len(block):
                writer.write({ROW: block})
