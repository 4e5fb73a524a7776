"""Parquet files: what pyarrow and pandas write comes back, and what is odd ends in one line."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from lfiw import InputError
from lfiw.data.importers import Imported
from lfiw.data.importers.parquet import import_parquet

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
VECTORS = RNG.normal(size=(20, 4))
LABELS = np.arange(20) % 3


def as_file(pixels: np.ndarray, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=form)
    return file.getvalue()


def read(imported: Imported) -> dict[str, torch.Tensor]:
    blocks = list(imported.blocks(3))
    return {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}


@pytest.fixture
def save(tmp_path: Path) -> Any:
    def save(file: str = "samples.parquet", **columns: Any) -> Path:
        pq.write_table(pa.table(columns), tmp_path / file, row_group_size=7)
        return tmp_path / file

    return save


@pytest.mark.parametrize("column", ["image", "img", "whatever"])
@pytest.mark.parametrize("struct", [True, False])
def test_image_files_in_a_column(save: Any, column: str, struct: bool) -> None:
    files = [as_file(pixels) for pixels in PIXELS]
    values = [{"bytes": file, "path": "a.png"} for file in files] if struct else files
    imported = import_parquet(save(**{column: values, "label": LABELS, "name": ["x"] * 20}))
    columns = read(imported)
    np.testing.assert_array_equal(columns["image"].numpy(), PIXELS.transpose(0, 3, 1, 2))
    assert columns["label"].tolist() == LABELS.tolist()
    assert imported.source["file"] == "samples.parquet"
    assert "left out: name (string)" in imported.notes


def test_jpeg_files_and_a_size(save: Any) -> None:
    files = [as_file(pixels, "JPEG") for pixels in (PIXELS[0], PIXELS[1, :4])]
    columns = read(import_parquet(save(image=files), size=4))
    assert columns["image"].shape == (2, 3, 4, 4)
    with pytest.raises(InputError, match=r"samples.parquet/row 1: 5 × 4 pixels, 1 others have 5 × 6: give --size N"):
        import_parquet(save(image=files))


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.float64()), pa.large_list(pa.float64()), pa.list_(pa.float64(), 4), pa.list_(pa.float32())],
    ids=str,
)
def test_lists_of_one_length(save: Any, kind: pa.DataType) -> None:
    columns = read(import_parquet(save(embedding=pa.array(VECTORS.tolist(), kind))))
    np.testing.assert_array_equal(columns["vector"].numpy(), VECTORS.astype(np.float32))


def test_tensors_of_pyarrow(save: Any) -> None:
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(PIXELS)
    columns = read(import_parquet(save(image=tensors)))
    np.testing.assert_array_equal(columns["image"].numpy(), PIXELS.transpose(0, 3, 1, 2))


def test_nested_lists_are_images(save: Any) -> None:
    columns = read(import_parquet(save(x=PIXELS.tolist())))
    np.testing.assert_array_equal(columns["image"].numpy(), PIXELS.transpose(0, 3, 1, 2))
    columns = read(import_parquet(save(x=(PIXELS / 255).tolist()), layout="nhwc", value_range="unit"))
    np.testing.assert_array_equal(columns["image"].numpy(), PIXELS.transpose(0, 3, 1, 2))


def test_columns_of_numbers_side_by_side(save: Any) -> None:
    path = save(a=VECTORS[:, 0], b=np.arange(20, dtype=np.int16), yes=LABELS == 1, city=["Rome"] * 20, label=LABELS)
    imported = import_parquet(path)
    columns = read(imported)
    expected = np.column_stack([VECTORS[:, 0], np.arange(20), LABELS == 1])
    np.testing.assert_array_equal(columns["vector"].numpy(), expected.astype(np.float32))
    assert columns["label"].tolist() == LABELS.tolist()
    assert imported.source["columns"] == ["a", "b", "yes"]
    columns = read(import_parquet(path, columns=["b", "label"]))
    np.testing.assert_array_equal(columns["vector"].numpy(), np.column_stack([np.arange(20), LABELS]))
    assert "label" not in columns
    columns = read(import_parquet(path, without=["yes", "b"], label="b"))
    np.testing.assert_array_equal(columns["vector"].numpy()[:, 0], VECTORS[:, 0].astype(np.float32))
    assert columns["label"].tolist() == list(range(20))


def test_float64_stays_where_its_values_need_it(save: Any) -> None:
    far = VECTORS + 1e9
    columns = read(import_parquet(save(v=far.tolist())))
    assert columns["vector"].dtype == torch.float64
    np.testing.assert_array_equal(columns["vector"].numpy(), far)


def test_rows_in_any_order_of_reading(save: Any) -> None:
    imported = import_parquet(save(v=VECTORS.tolist(), label=LABELS))
    for start, stop in ((13, 20), (0, 2), (2, 9), (6, 8), (19, 20)):
        block = imported.read(start, stop)
        np.testing.assert_array_equal(block["vector"].numpy(), VECTORS[start:stop].astype(np.float32))
        assert block["label"].tolist() == LABELS[start:stop].tolist()


def test_a_folder_of_files_is_one_table(save: Any, tmp_path: Path) -> None:
    for part in range(3):
        rows = slice(part * 7, part * 7 + 7)
        save(f"part-{part}.parquet", v=VECTORS[rows].tolist(), label=LABELS[rows])
    (tmp_path / "_SUCCESS").touch()
    columns = read(import_parquet(tmp_path))
    np.testing.assert_array_equal(columns["vector"].numpy(), VECTORS.astype(np.float32))
    assert columns["label"].tolist() == LABELS.tolist()
    save("part-3.parquet", v=VECTORS.tolist())
    with pytest.raises(InputError, match=r"part-3.parquet: column 'label' is missing, in part-0.parquet it is int64"):
        import_parquet(tmp_path)


def test_splits_in_one_folder_are_not_mixed(save: Any, tmp_path: Path) -> None:
    save("train-00000-of-00001.parquet", v=VECTORS[:5].tolist())
    save("test-00000-of-00001.parquet", v=VECTORS[5:].tolist())
    with pytest.raises(InputError, match="several splits: give --split, one of test, train"):
        import_parquet(tmp_path)
    assert import_parquet(tmp_path, split="train").num_rows == 5
    with pytest.raises(InputError, match="--split dev: its files are of the splits test, train"):
        import_parquet(tmp_path, split="dev")


def test_what_pandas_writes(tmp_path: Path) -> None:
    """Its index numbers the rows and is no sample."""
    frame = pd.DataFrame({"a": VECTORS[:, 0], "b": VECTORS[:, 1]}, index=np.arange(20) * 3 + 1)
    frame.to_parquet(tmp_path / "frame.parquet")
    imported = import_parquet(tmp_path / "frame.parquet")
    np.testing.assert_array_equal(read(imported)["vector"].numpy(), frame.to_numpy(np.float32))
    assert "left out: __index_level_0__ (index)" in imported.notes


def test_bad_images_are_refused_or_skipped(save: Any) -> None:
    files = [as_file(PIXELS[0]), None, b"no image", as_file(PIXELS[3])]
    path = save(image=files, label=[0, 1, 2, 3])
    with pytest.raises(InputError, match="column 'image' has no image in row 1"):
        import_parquet(path)
    imported = import_parquet(path, skip_bad=True)
    assert read(imported)["label"].tolist() == [0, 3]
    assert "skipped 2 bad files: row 1, row 2" in imported.notes
    with pytest.raises(InputError, match=r"no image in row 0, only the path 'a.png'"):
        import_parquet(save(image=[{"bytes": None, "path": "a.png"}, {"bytes": files[0], "path": None}]))


@pytest.mark.parametrize(
    ("columns", "options", "told"),
    [
        ({"a": [1.0, None]}, {}, "column 'a' has no value in row 1: fill it, or drop the row"),
        ({"v": [[1.0, 2.0], None]}, {}, "column 'v' has no value in row 1"),
        ({"v": [[1.0, 2.0], [1.0, None]]}, {}, "column 'v' has no value in row 1"),
        ({"v": [[1.0, 2.0], [1.0]]}, {}, "column 'v', row 1: a list of 1, those before it have 2"),
        ({"v": [[1.0]] * 5000 + [[1.0, 2.0]]}, {}, "column 'v', row 5,000: a list of 2, those before it have 1"),
        ({"v": pa.array([[], []], pa.list_(pa.float64()))}, {}, "lists of v are empty"),
        ({"a": [1.0, np.inf], "b": [1, 2]}, {}, "column 'a' is NaN or infinite in row 1"),
        ({"a": ["x"], "b": ["y"]}, {}, "no column of numbers, lists of numbers or images to import: it has a (string)"),
        ({"a": [1.0], "b": ["y"]}, {"columns": ["b"]}, "--columns b: holds string, expected numbers, lists"),
        ({"a": [1.0], "age": [1]}, {"columns": ["a", "agee"]}, "no column 'agee', did you mean age?; it has a, age"),
        (
            {"a": [1.0], "v": [[1.0]]},
            {"columns": ["a", "v"]},
            "--columns v: holds list<element: double>: give it alone",
        ),
        ({"a": [1.0], "b": [1]}, {"columns": ["a", "a"]}, "--columns names a twice"),
        ({"a": [1.0], "b": [1.5]}, {"label": "b"}, "--label b: float64, not all whole numbers"),
        ({"a": [1.0], "b": ["y"]}, {"label": "b"}, "--label b: holds string, expected whole numbers"),
        ({"a": [1.0]}, {"without": ["b"]}, "no column 'b'; it has a"),
        ({"a": [1.0]}, {"split": "train"}, "--split goes with a folder"),
        ({"a": [1.0]}, {"size": 3}, "holds no image files: leave out --size"),
        ({"a": [1.0]}, {"layout": "nchw"}, "holds vectors, not images: leave out --layout"),
        ({"v": [[1.0]], "w": [[1.0]]}, {}, "which column holds the samples? Give --columns NAME, one of: v, w"),
        ({"a": [2**60, 2**60 + 1], "b": [0.5, 1]}, {}, "column 'a' has whole numbers above 2⁵³"),
        ({"a": pa.array([], pa.float64())}, {}, "there is no row in it"),
        ({"image": [b"x"]}, {"value_range": "unit"}, "leave out --layout and --range"),
    ],
    ids=str,
)
def test_what_is_odd_ends_in_one_line(save: Any, columns: dict[str, Any], options: dict[str, Any], told: str) -> None:
    path = save(**columns)
    with pytest.raises(InputError) as error:
        read(import_parquet(path, **options))
    assert told in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_files_that_are_something_else(save: Any, tmp_path: Path) -> None:
    good = save(a=VECTORS[:, 0]).read_bytes()
    contents = {
        b"a,b\n1,2\n": "not a Parquet file, it begins with b'a,b\\n': a CSV file goes as csv",
        b"": "not a Parquet file, it is empty",
        good[: len(good) // 2]: "damaged or not a Parquet file",
        good[:40] + bytes(60) + good[100:]: "damaged or not a Parquet file",
    }
    for content, told in contents.items():
        (tmp_path / "odd.parquet").write_bytes(content)
        with pytest.raises(InputError) as error:
            read(import_parquet(tmp_path / "odd.parquet"))
        assert told in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="no such file or folder"):
        import_parquet(tmp_path / "none")
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match=r"no \*.parquet file in it$"):
        import_parquet(tmp_path / "data")


def test_damage_anywhere_is_one_line_or_read(save: Any, tmp_path: Path) -> None:
    """A flipped bit may go unnoticed in the numbers; it is never a traceback."""
    good = save(v=VECTORS.tolist(), label=LABELS).read_bytes()
    for place in RNG.integers(4, len(good), 100):
        bad = bytearray(good)
        bad[place] ^= 1 << int(RNG.integers(8))
        (tmp_path / "bad.parquet").write_bytes(bad)
        try:
            read(import_parquet(tmp_path / "bad.parquet"))
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_without_pyarrow_the_extra_is_named(save: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(a=VECTORS[:, 0])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"need pyarrow: pip install 'lfiw\[parquet\]'"):
        import_parquet(path)
