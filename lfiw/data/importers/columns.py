"""Which columns of a file hold the samples: of Parquet files, Hugging Face data sets and CSV files."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lfiw.data.importers.arrays import KEPT, SAMPLE_KEYS
from lfiw.errors import InputError, nearest, printable

IMAGE, ARRAY, NUMBER, OTHER = "image", "array", "number", "other"  # what a column holds in each row
USUAL = (*SAMPLE_KEYS, "img", "pixels", "vectors", "features", "embedding", "embeddings")
LABELS = ("label", "labels", "fine_label")
LISTED = 20  # columns that a message names


@dataclass(frozen=True)
class Field:
    """One column of a file.

    Args:
        kind: IMAGE, ARRAY, NUMBER or OTHER.
        type: of its values, in the file's own words; empty where they have none.
    """

    kind: str
    type: str


@dataclass(frozen=True)
class Chosen:
    """What is read of a file.

    Args:
        samples: one column of images or arrays, or columns of numbers that make a vector side by side.
        kind: of these columns.
        label: column of the classes.
        kept: columns of `KEPT`.
        left_out: the others, name → type.
    """

    samples: tuple[str, ...]
    kind: str
    label: str | None
    kept: tuple[str, ...]
    left_out: dict[str, str]

    @property
    def notes(self) -> list[str]:
        if not self.left_out:
            return []
        return [f"left out: {listed(f'{name} ({of})' if of else name for name, of in self.left_out.items())}"]


def choose_columns(
    where: Path,
    fields: Mapping[str, Field],
    columns: Sequence[str] | None = None,
    without: Sequence[str] = (),
    label: str | None = None,
    index: Sequence[str] = (),
) -> Chosen:
    """Chooses the samples and their classes.

    Samples are, by default, the one column of images; without one, the one column of arrays; without one, all columns
    of numbers.

    Args:
        where: the file, for messages.
        columns: of the samples, by their names.
        without: columns to leave out.
        label: column of the classes. If None, the first of `LABELS` that is there.
        index: columns that number the rows, which are no samples.

    Raises:
        InputError: a column is missing or holds something else, or it is not clear which are the samples.
    """
    check_names(where, fields, [*(columns or ()), *without, *([label] if label else [])])
    if label is None:
        usual = (name for name in fields if name.lower() in LABELS and fields[name].kind == NUMBER)
        label = next((name for name in usual if name not in (*without, *(columns or ()))), None)
    elif fields[label].kind != NUMBER:
        raise InputError(f"{where}: --label {label}: holds {fields[label].type}, expected whole numbers from 0")
    others = [name for name in fields if name not in (*without, *index, label)]
    samples = given(where, fields, columns) if columns else found(where, fields, others)
    kind = fields[samples[0]].kind
    kept = tuple(name for name in others if name in KEPT and name not in samples and fields[name].kind == NUMBER)
    kept = kept if kind != NUMBER else ()
    left_out = {name: of.type for name, of in fields.items() if name not in (*samples, *kept, label)}
    return Chosen(samples, kind, label, kept, {name: "index" if name in index else t for name, t in left_out.items()})


def check_names(where: Path, fields: Iterable[str], names: Iterable[str]) -> None:
    """Raises InputError for a column that is not there."""
    there = list(fields)
    for name in names:
        if name not in there:
            raise InputError(f"{where}: no column {name!r}{nearest(name, there)}; it has {listed(there)}")


def given(where: Path, fields: Mapping[str, Field], columns: Sequence[str]) -> tuple[str, ...]:
    """Checks the columns that a user names as samples."""
    for name in columns:
        kind, holds = fields[name].kind, f"{where}: --columns {name}: holds {fields[name].type}"
        if kind == OTHER:
            raise InputError(f"{holds}, expected numbers, lists of numbers or images")
        if kind != NUMBER and len(columns) > 1:
            raise InputError(f"{holds}: give it alone, or several columns of one number per row")
        if columns.count(name) > 1:
            raise InputError(f"{where}: --columns names {name} twice")
    return tuple(columns)


def found(where: Path, fields: Mapping[str, Field], others: Sequence[str]) -> tuple[str, ...]:
    """Finds the samples among the columns that are nothing else."""
    for kind in (IMAGE, ARRAY):
        names = [name for name in others if fields[name].kind == kind]
        usual = [name for name in names if name.lower() in USUAL]
        if len(names) == 1 or len(usual) == 1:
            return tuple(usual if len(usual) == 1 else names)
        if names:
            raise InputError(f"{where}: which column holds the samples? Give --columns NAME, one of: {listed(names)}")
    numbers = tuple(name for name in others if fields[name].kind == NUMBER)
    if not numbers:
        there = listed(f"{name} ({of.type})" for name, of in fields.items())
        raise InputError(f"{where}: no column of numbers, lists of numbers or images to import: it has {there}")
    return numbers


def listed(names: Iterable[str]) -> str:
    """Joins names by commas, the first of many."""
    every = [printable(name) for name in names]
    return ", ".join(every[:LISTED]) + (f" and {len(every) - LISTED} more" if len(every) > LISTED else "")
