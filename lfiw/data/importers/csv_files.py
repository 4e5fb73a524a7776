"""CSV files: tables of numbers."""

import csv
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from torch import Tensor

from lfiw.data.cache.shards import hash_file
from lfiw.data.importers import BLOCK_ROWS, Imported
from lfiw.data.importers.arrays import Labels, read_labels, reader
from lfiw.data.importers.columns import NUMBER, Chosen, Field, choose_columns, listed
from lfiw.data.precision import EXACT
from lfiw.errors import InputError, first_line, printable

DELIMITERS = "\t;,|"  # in the order in which they are looked for: a comma may also stand in a number
NAMES = {"\t": "tabs", ";": "semicolons", ",": "commas", "|": "bars", " ": "blanks"}
BEGINNINGS = {  # of files that are something else
    b"PAR1": "a Parquet file: import it as parquet {path}",
    b"PK": "a zip archive or a spreadsheet: save it as CSV",
    b"\x1f\x8b": "compressed: unpack it first",
    b"\xff\xfe": "UTF-16: save it as UTF-8",
    b"\xfe\xff": "UTF-16: save it as UTF-8",
    b"\x93NUMPY": "an array of NumPy: import it as npz {path}",
}


@dataclass(frozen=True)
class Layout:
    """How a file is read.

    Args:
        names: of its columns; their numbers from 0 without a header.
        has_header: the first line holds the names.
    """

    delimiter: str
    names: tuple[str, ...]
    has_header: bool


def import_csv(
    path: Path,
    columns: Sequence[str] | None = None,
    without: Sequence[str] = (),
    label: str | None = None,
    delimiter: str | None = None,
    header: bool | None = None,
) -> Imported:
    """Columns of numbers in a CSV file, side by side: `vector`, float32, or float64 if a column's values need it.

    Text is refused: a column of categories gets its numbers from both sides (`lfiw.data.encoding`), and a file is one.

    Args:
        columns: of the vectors, in this order. By default all but the label.
        without: columns that are left out.
        label: column of the classes, whole numbers from 0. By default label, labels or fine_label.
        delimiter: one character. By default tab, semicolon, comma or bar, the first of them in the first line.
        header: whether the first line holds names. By default it does if something in it is no number.

    Raises:
        InputError: the file cannot be read, or a value is no finite number: column and line are named.
    """
    if not path.is_file():
        raise InputError(f"{printable(path)}: {'a folder' if path.is_dir() else 'no such file'}: expected a CSV file")
    check_beginning(path)
    layout = find_layout(path, delimiter, header)
    fields = {name: Field(NUMBER, "") for name in layout.names}
    if "" in fields and not columns:
        raise InputError(
            f"{path}: column {layout.names.index('') + 1} has no name, as the index that pandas writes: write the file "
            "without it (index=False), or name the others by --columns"
        )
    chosen = choose_columns(path, fields, columns, without, label)
    wanted = [*chosen.samples, *([chosen.label] if chosen.label else [])]
    values = read_numbers(path, layout, wanted)
    vectors = values[:, : len(chosen.samples)]
    labels, notes = labels_of(path, chosen, values[:, -1], required=label is not None)
    try:
        column, read, found = reader(vectors, None, None)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    separated = f"separated by {NAMES.get(layout.delimiter, repr(layout.delimiter))}"
    names = "names in the first line" if layout.has_header else "no names: columns are numbered from 0"
    notes = [*found, f"{separated}, {names}", f"from the columns {listed(chosen.samples)}", *notes, *chosen.notes]

    def rows(start: int, stop: int) -> dict[str, Tensor]:
        block: dict[str, Tensor] = {column: read(vectors[start:stop])}
        if labels is not None:
            block["label"] = labels.values[start:stop]
        return block

    source: dict[str, Any] = {"file": printable(path.name), "sha256": hash_file(path), "notes": notes}
    if layout.has_header:
        source["columns"] = list(chosen.samples)
    return Imported(source, tuple(notes), len(values), rows)


def labels_of(path: Path, chosen: Chosen, values: np.ndarray, required: bool) -> tuple[Labels | None, list[str]]:
    """Reads the classes, and notes why they are none; a chosen column must hold them."""
    if chosen.label is None:
        return None, []
    try:
        labels = read_labels(chosen.label, values, len(values))
        return labels, [f"labels from {labels.name}"]
    except InputError as error:
        if required:
            raise InputError(f"{path}: --label {chosen.label}: {error}") from None
        return None, [f"ignored: {chosen.label} ({error})"]


def check_beginning(path: Path) -> None:
    """Raises InputError for a file that is something else."""
    with reading(path), open(path, "rb") as file:
        head = file.read(8)
    if not head:
        raise InputError(f"{printable(path)}: it is empty")
    for beginning, what in BEGINNINGS.items():
        if head.startswith(beginning):
            raise InputError(f"{printable(path)}: no CSV file, {what.format(path=path)}")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what is wrong with a text file into one line."""
    try:
        yield
    except UnicodeDecodeError as error:
        byte = f"{error.object[error.start]:#x}"
        raise InputError(f"{printable(path)}: not UTF-8 text (byte {byte}): save it as UTF-8") from None
    except (OSError, csv.Error) as error:
        raise InputError(f"{printable(path)}: cannot be read ({printable(first_line(error))})") from None


def lines_of(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yields number and cells of every line that is not empty."""
    with reading(path), open(path, encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
        yield from ((lines.line_num, cells) for cells in lines if any(cell.strip() for cell in cells))


def find_layout(path: Path, delimiter: str | None, header: bool | None) -> Layout:
    """Finds the delimiter and the names of the columns in the first line.

    Raises:
        InputError: there is no line, names are missing or twice there, or they may be numbers as well.
    """
    delimiter = "\t" if delimiter in ("\\t", "tab") else delimiter
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '\r\n"'):
        raise InputError(f"--delimiter {delimiter!r}: expected one character, or tab")
    if delimiter is None:
        with reading(path), open(path, encoding="utf-8-sig") as file:
            text = next((line.strip() for line in file if line.strip()), "")
        in_blanks = len(text.split()) > 1 and all(map(is_number, text.split()))
        delimiter = next((d for d in DELIMITERS if d in text), " " if in_blanks else ",")
    _, cells = next(lines_of(path, delimiter), (0, []))
    if not cells:
        raise InputError(f"{path}: there is no line in it")
    cells = [cell.strip() for cell in cells]
    numbered = [str(i) for i in range(len(cells))]
    if header is None and cells == numbered and len(cells) > 1:
        raise InputError(
            f"{path}: the first line, {listed(cells)}, may be names or numbers: give --header or --no-header"
        )
    if not (header if header is not None else not all(map(is_number, cells))):
        return Layout(delimiter, tuple(numbered), False)
    if twice := [name for name in cells if cells.count(name) > 1]:
        raise InputError(f"{path}: two columns are called {twice[0]!r}: rename one of them")
    return Layout(delimiter, tuple(cells), True)


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text  # Python takes 1_000 for a number


def read_numbers(path: Path, layout: Layout, names: Sequence[str]) -> Float64[np.ndarray, "n d"]:
    """The columns of those names.

    Raises:
        InputError: there is no row, a row has more or fewer cells than the first line, or a cell is no finite number.
    """
    places = [layout.names.index(name) for name in names]
    lines = itertools.islice(lines_of(path, layout.delimiter), int(layout.has_header), None)
    blocks = []
    while block := list(itertools.islice(lines, BLOCK_ROWS)):
        for number, cells in block:
            if len(cells) != len(layout.names):
                raise InputError(
                    f"{path}: cells in line {number:,}: {len(cells)}, in the first line: {len(layout.names)}: expected "
                    "the same; a cell that holds the delimiter needs quotes around it"
                )
        texts = [[cells[place] for place in places] for _, cells in block]
        try:
            values = np.array(texts).astype(np.float64)
        except ValueError:
            values = np.full(1, np.nan)
        underscored = any("_" in text for row in texts for text in row)
        if underscored or not np.isfinite(values).all() or np.abs(values).max() >= EXACT:
            for (number, _), row in zip(block, texts, strict=True):
                for name, text in zip(names, row, strict=True):
                    check_cell(text, f"{path}: column {name!r}, line {number:,}")
        blocks.append(values)
    if not blocks:
        raise InputError(f"{path}: there is no row in it, only the names of the columns")
    return np.concatenate(blocks)


def check_cell(text: str, where: str) -> None:
    """Raises InputError for text that is no finite number which float64 holds."""
    text = text.strip()
    if not text:
        raise InputError(f"{where} is empty: fill it, or drop the row")
    if not is_number(text):
        plain = text.replace(",", "").replace("'", "").replace("_", "").replace(" ", "").replace("\u00a0", "")
        raise InputError(
            f"{where}: {printable(text[:40])!r} is no number: write it with a decimal point and without separators"
            if is_number(plain)
            else f"{where}: {printable(text[:40])!r} is no number: leave the column out by --without or --columns; "
            "categories get their numbers from both sides, which lfiw.correct(real, generated) encodes"
        )
    value = float(text)
    if not np.isfinite(value):
        raise InputError(f"{where} is {text}: drop or fill such rows")
    if abs(value) >= EXACT and value == round(value) and text.lstrip("+-").isdigit() and int(text) != int(value):
        raise InputError(f"{where}: {text} is finer than float64 holds: subtract a constant")
