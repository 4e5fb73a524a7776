"""CSV files, as pandas, NumPy and spreadsheets write them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from data.test_import_parquet import LABELS, VECTORS, read

from lfiw import InputError
from lfiw.data.importers.csv_files import import_csv

FRAME = pd.DataFrame(VECTORS, columns=["a", "b", "c", "d"]).assign(label=LABELS)


@pytest.mark.parametrize(
    "options", [{}, {"sep": ";"}, {"sep": "\t"}, {"quoting": 1}, {"lineterminator": "\r\n"}], ids=str
)
def test_what_pandas_writes(tmp_path: Path, options: dict[str, Any]) -> None:
    FRAME.to_csv(tmp_path / "x.csv", index=False, **options)
    imported = import_csv(tmp_path / "x.csv")
    columns = read(imported)
    np.testing.assert_array_equal(columns["vector"].numpy(), VECTORS.astype(np.float32))
    assert columns["label"].tolist() == LABELS.tolist()
    assert imported.source["columns"] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("delimiter", [",", " ", "\t"])
def test_what_numpy_writes_has_no_names(tmp_path: Path, delimiter: str) -> None:
    np.savetxt(tmp_path / "x.csv", VECTORS, delimiter=delimiter)
    imported = import_csv(tmp_path / "x.csv")
    np.testing.assert_array_equal(read(imported)["vector"].numpy(), VECTORS.astype(np.float32))
    assert any("no names: columns are numbered from 0" in note for note in imported.notes)
    columns = read(import_csv(tmp_path / "x.csv", columns=["3", "0"]))
    np.testing.assert_array_equal(columns["vector"].numpy(), VECTORS[:, [3, 0]].astype(np.float32))


def test_every_digit_of_float64(tmp_path: Path) -> None:
    far = FRAME.assign(a=VECTORS[:, 0] + 1e9)
    far.to_csv(tmp_path / "x.csv", index=False)
    vector = read(import_csv(tmp_path / "x.csv"))["vector"]
    assert vector.dtype == torch.float64
    np.testing.assert_array_equal(vector.numpy(), far[["a", "b", "c", "d"]].to_numpy())


def test_columns_by_name(tmp_path: Path) -> None:
    """Text that is not asked for need not be numbers; pandas' index has no name and is left out."""
    FRAME.assign(city="Rome, Italy").to_csv(tmp_path / "x.csv")
    columns = read(import_csv(tmp_path / "x.csv", columns=["d", "a"], label="label"))
    np.testing.assert_array_equal(columns["vector"].numpy(), VECTORS[:, [3, 0]].astype(np.float32))
    FRAME.assign(city="Rome").to_csv(tmp_path / "x.csv", index=False)
    columns = read(import_csv(tmp_path / "x.csv", without=["city", "a", "b", "c"]))
    np.testing.assert_array_equal(columns["vector"].numpy(), VECTORS[:, [3]].astype(np.float32))


def test_numbers_as_names(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("0,1\n5,6\n7,8\n")
    with pytest.raises(InputError, match="the first line, 0, 1, may be names or numbers: give --header or --no-header"):
        import_csv(tmp_path / "x.csv")
    assert import_csv(tmp_path / "x.csv", header=True).num_rows == 2
    assert import_csv(tmp_path / "x.csv", header=False).num_rows == 3


def test_a_mark_at_the_beginning_and_empty_lines(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("\ufeffa,b\n\n1,2\n 3 , 4 \n\n")
    imported = import_csv(tmp_path / "x.csv")
    assert imported.source["columns"] == ["a", "b"]
    assert read(imported)["vector"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        ("a,b\n1,x\n", {}, "column 'b', line 2: 'x' is no number: leave the column out by --without or --columns"),
        ("a,b\n1,2\n3,\n", {}, "column 'b', line 3 is empty: fill it, or drop the row"),
        ("a,b\n1,nan\n", {}, "column 'b', line 2 is nan: drop or fill such rows"),
        ("a,b\n1,-inf\n", {}, "column 'b', line 2 is -inf"),
        ("a;b\n1,5;2\n", {}, "column 'a', line 2: '1,5' is no number: write it with a decimal point"),
        (
            'a,b\n"1,234",2\n',
            {},
            "column 'a', line 2: '1,234' is no number: write it with a decimal point",
        ),
        ("a,b\n1_000,2\n", {}, "column 'a', line 2: '1_000' is no number"),
        ("a,b\n1,2,3\n", {}, "cells in line 2: 3, in the first line: 2"),
        ("a,a\n1,2\n", {}, "two columns are called 'a': rename one of them"),
        (",a\n0,2\n", {}, "column 1 has no name, as the index that pandas writes"),
        ("a,b\n", {}, "there is no row in it, only the names of the columns"),
        ("\n\n", {}, "there is no line in it"),
        ("", {}, "it is empty"),
        ('a,b\n"1,2\n', {}, "cannot be read (unexpected end of data)"),
        ("a,b\n9007199254740993,1\n", {}, "column 'a', line 2: 9007199254740993 is finer than float64 holds"),
        ("a,b\n1,2\n", {"columns": ["c"]}, "no column 'c'; it has a, b"),
        ("age,b\n1,2\n", {"columns": ["agee"]}, "no column 'agee', did you mean age?"),
        ("a,b\n1,2.5\n", {"label": "b"}, "--label b: float64, not all whole numbers"),
        ("a,b\n1,2\n", {"delimiter": "ab"}, "--delimiter 'ab': expected one character, or tab"),
        ("a\n1e300\n", {}, "more than float32 can hold: rescale them"),
    ],
    ids=repr,
)
def test_what_is_odd_ends_in_one_line(tmp_path: Path, text: str, options: dict[str, Any], told: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(InputError) as error:
        import_csv(tmp_path / "x.csv", **options)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("é,b\n1,2\n".encode("latin-1"), "not UTF-8 text (byte 0xe9): save it as UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "no CSV file, UTF-16: save it as UTF-8"),
        (b"PAR1...", "no CSV file, a Parquet file: import it as parquet"),
        (b"PK\x03\x04", "no CSV file, a zip archive or a spreadsheet"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(InputError) as error:
        import_csv(tmp_path / "x.csv")
    assert told in str(error.value)
    with pytest.raises(InputError, match="a folder: expected a CSV file"):
        import_csv(tmp_path)
