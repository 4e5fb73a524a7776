"""Tables of samples on disk and in memory. The names are imported when first used, as in `lfiw`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lfiw.data.cache.column_writer import ColumnWriter
    from lfiw.data.cache.reader import SampleCache, write_rows
    from lfiw.data.cache.writer import CacheWriter
    from lfiw.data.table import Column, Rows, Table, TensorTable
    from lfiw.data.weighted_rows import WeightedRows

_HOMES = {
    "CacheWriter": "cache.writer",
    "Column": "table",
    "ColumnWriter": "cache.column_writer",
    "Rows": "table",
    "SampleCache": "cache.reader",
    "Table": "table",
    "TensorTable": "table",
    "WeightedRows": "weighted_rows",
    "write_rows": "cache.reader",
}

__all__ = [
    "CacheWriter",
    "Column",
    "ColumnWriter",
    "Rows",
    "SampleCache",
    "Table",
    "TensorTable",
    "WeightedRows",
    "write_rows",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lfiw.data' has no attribute {name!r}")
    return getattr(import_module(f"lfiw.data.{_HOMES[name]}"), name)
