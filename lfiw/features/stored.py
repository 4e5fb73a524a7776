"""Features that stand in the tables already, whoever computed them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from lfiw.data import Table
from lfiw.data.table import table_name
from lfiw.errors import InputError
from lfiw.features.extractor import Extractor

SAME = ("sha256", "preprocessing")  # of a stamp: what has to agree from table to table


class StoredFeatures(Extractor):
    """The columns `features/NAME` of some tables. It computes nothing, and so cannot take new samples.

    A run thus uses features by any code without running that code: tools/cache_features.py does, where a user names it.

    Args:
        name: of the features.
        tables: by what they hold; each must have the column, computed by the same.

    Raises:
        InputError: a table lacks the column, has something else than vectors there, or it was computed by another.
    """

    def __init__(self, name: str, tables: Mapping[str, Table]) -> None:
        super().__init__()
        self.name, column = name, f"features/{name}"
        for table in tables.values():
            if column not in table.columns:
                raise InputError(
                    f"extractor {name}: {table_name(table)} has no column {column!r}: tools/cache_features.py adds it"
                )
        found = {table_name(table): table.column(column) for table in tables.values()}
        shapes = {where: (of.dtype, of.shape) for where, of in found.items()}
        if any(len(of.shape) != 1 or not of.dtype.is_floating_point for of in found.values()):
            raise InputError(f"extractor {name}: {column!r} holds {described(shapes)}, expected vectors of numbers")
        check_same(column, shapes)
        check_same_origin(column, tables.values())
        first = next(iter(found.values()))
        self.num_features = first.shape[0]
        self.sha256 = str(first.stamp.get("sha256", ""))
        self.preprocessing = str(first.stamp.get("preprocessing", ""))

    @property
    def key(self) -> str:
        return self.name

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        raise InputError(f"extractor {self.name}: its features are not computed here: tools/cache_features.py does it")


def check_same(column: str, found: Mapping[str, Any]) -> None:
    """Raises InputError where two tables have a column of different kinds or origins, which alone tells them apart."""
    (first, expected), *others = found.items()
    for where, value in others:
        if value != expected:
            raise InputError(
                f"column {column!r} differs: {value} in {where}, {expected} in {first}; compute it again in both"
            )


def check_same_origin(column: str, tables: Iterable[Table]) -> None:
    """Raises InputError where the column was not computed by the same in all tables."""
    stamps = {table_name(table): table.column(column).stamp for table in tables}
    check_same(column, {where: {key: stamp.get(key) for key in SAME} for where, stamp in stamps.items()})


def described(found: Mapping[str, Any]) -> str:
    return ", ".join(f"{value} in {where}" for where, value in found.items())


def stored_names(tables: Mapping[str, Table]) -> Sequence[str]:
    """Names of all features that some table has."""
    columns = dict.fromkeys(name for table in tables.values() for name in table.columns)
    return [name.removeprefix("features/") for name in columns if name.startswith("features/")]
