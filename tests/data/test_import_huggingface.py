"""Data sets that Hugging Face's `datasets` wrote to disk."""

import json
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from data.test_import_parquet import LABELS, PIXELS, VECTORS, read
from PIL import Image

from lfiw import InputError
from lfiw.data.importers.huggingface import import_huggingface
from lfiw.data.importers.parquet import import_parquet

FAR = VECTORS + 1e9  # float32 holds none of their digits


@pytest.fixture(autouse=True)
def quiet():
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture
def vectors() -> datasets.Dataset:
    dataset = datasets.Dataset.from_dict({"v": FAR.tolist(), "label": LABELS.tolist()})
    return dataset.cast_column("label", datasets.ClassLabel(names=["a", "b", "c"]))


def test_float64_is_not_rounded_by_the_numpy_format(tmp_path: Path, vectors: datasets.Dataset) -> None:
    vectors.with_format("torch").save_to_disk(tmp_path / "set", num_shards=3)
    imported = import_huggingface(tmp_path / "set")
    columns = read(imported)
    assert columns["vector"].dtype == torch.float64
    np.testing.assert_array_equal(columns["vector"].numpy(), FAR)
    assert columns["label"].tolist() == LABELS.tolist()
    assert imported.source["classes"] == ["a", "b", "c"]
    assert imported.source["files"] == 3


def test_images(tmp_path: Path) -> None:
    pictures = [Image.fromarray(pixels) for pixels in PIXELS]
    datasets.Dataset.from_dict({"image": pictures, "fine_label": LABELS.tolist()}).save_to_disk(tmp_path / "set")
    columns = read(import_huggingface(tmp_path / "set"))
    np.testing.assert_array_equal(columns["image"].numpy(), PIXELS.transpose(0, 3, 1, 2))
    assert columns["label"].tolist() == LABELS.tolist()


def test_arrays_of_three_axes(tmp_path: Path) -> None:
    features = datasets.Features({"x": datasets.Array3D(PIXELS.shape[1:], "uint8")})
    datasets.Dataset.from_dict({"x": PIXELS}, features=features).save_to_disk(tmp_path / "set")
    columns = read(import_huggingface(tmp_path / "set"))
    np.testing.assert_array_equal(columns["image"].numpy(), PIXELS.transpose(0, 3, 1, 2))


def test_a_selection_of_rows(tmp_path: Path, vectors: datasets.Dataset) -> None:
    vectors.select([7, 2, 2]).save_to_disk(tmp_path / "set")
    np.testing.assert_array_equal(read(import_huggingface(tmp_path / "set"))["vector"].numpy(), FAR[[7, 2, 2]])


def test_splits(tmp_path: Path, vectors: datasets.Dataset) -> None:
    parts = datasets.DatasetDict({"train": vectors, "test": vectors.select(range(5))})
    parts.save_to_disk(tmp_path / "sets")
    with pytest.raises(InputError, match="several splits: give --split, one of train, test"):
        import_huggingface(tmp_path / "sets")
    with pytest.raises(InputError, match=r"no split 'tran', did you mean train\?; it has train, test"):
        import_huggingface(tmp_path / "sets", split="tran")
    imported = import_huggingface(tmp_path / "sets", split="test")
    assert imported.num_rows == 5
    assert imported.source["split"] == "test"


def test_the_same_as_parquet(tmp_path: Path, vectors: datasets.Dataset) -> None:
    vectors.save_to_disk(tmp_path / "set")
    vectors.to_parquet(tmp_path / "set.parquet")
    found, expected = read(import_huggingface(tmp_path / "set")), read(import_parquet(tmp_path / "set.parquet"))
    assert all(torch.equal(found[name], expected[name]) for name in ("vector", "label"))
    with pytest.raises(InputError, match="import it as huggingface"):
        import_parquet(tmp_path / "set")
    with pytest.raises(InputError, match="import it as parquet"):
        import_huggingface(tmp_path / "set.parquet")


def test_folders_that_are_something_else(tmp_path: Path, vectors: datasets.Dataset) -> None:
    with pytest.raises(InputError, match="no such folder: expected a folder that save_to_disk"):
        import_huggingface(tmp_path / "none")
    with pytest.raises(InputError, match=r"it has no state.json: expected a folder that save_to_disk"):
        import_huggingface(tmp_path)
    vectors.save_to_disk(tmp_path / "set")
    with pytest.raises(InputError, match="leave out --split"):
        import_huggingface(tmp_path / "set", split="train")
    (file,) = (tmp_path / "set").glob("*.arrow")
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    with pytest.raises(InputError, match="damaged or not an Arrow stream"):
        import_huggingface(tmp_path / "set")
    file.unlink()
    with pytest.raises(InputError, match=r"no such file, though state.json names it"):
        import_huggingface(tmp_path / "set")
    for content in ("{", "[]", "{}", json.dumps({"_data_files": [{"filename": "../../etc/passwd"}]})):
        (tmp_path / "set" / "state.json").write_text(content)
        with pytest.raises(InputError) as error:
            import_huggingface(tmp_path / "set")
        assert "\n" not in str(error.value)
