"""Exports: other readers find what was written, and importing one gives the same rows back, bit for bit."""

import csv
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from lfiw import InputError
from lfiw.data import CacheWriter, SampleCache, TensorTable
from lfiw.data.exporting import Export, write_export
from lfiw.data.importers.arrays import import_arrays
from lfiw.data.importers.folders import import_folder
from lfiw.data.importers.parquet import import_parquet

N = 50
GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.arange(N) % 3
ROWS = torch.randperm(N, generator=GENERATOR)[:40]
NUMBERS = {  # as log-ratios and weights have: every digit of float64, from tiny to large
    "log_ratio": torch.randn(40, generator=GENERATOR, dtype=torch.float64) * 30,
    "weight": torch.softmax(torch.randn(40, generator=GENERATOR, dtype=torch.float64) * 30, 0),
}
SAMPLES = {
    "grey": torch.randint(256, (N, 1, 5, 4), dtype=torch.uint8, generator=GENERATOR),
    "colour": torch.randint(256, (N, 3, 5, 4), dtype=torch.uint8, generator=GENERATOR),
    "float32": torch.randn(N, 6, generator=GENERATOR),
    "float64": torch.randn(N, 6, generator=GENERATOR, dtype=torch.float64) + 1e9,
}


def exported(kind: str) -> Export:
    column = "image" if SAMPLES[kind].dtype == torch.uint8 else "vector"
    return Export(TensorTable({column: SAMPLES[kind], "label": LABELS}), ROWS, NUMBERS)


def read(imported: Any) -> dict[str, torch.Tensor]:
    (block,) = imported.blocks(1000)
    return dict(block)


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("form", ["parquet", "npz"])
def test_importing_an_export_gives_the_same_bits(tmp_path: Path, kind: str, form: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("lfiw.data.exporting.BLOCK_BYTES", 300)  # several blocks
    export, path = exported(kind), tmp_path / f"out.{form}"
    write_export(export, form, path)
    columns = read((import_parquet if form == "parquet" else import_arrays)(path))
    assert columns[export.samples].dtype == SAMPLES[kind].dtype
    assert torch.equal(columns[export.samples], SAMPLES[kind][ROWS])
    assert torch.equal(columns["label"], LABELS[ROWS])
    for name, values in NUMBERS.items():
        assert torch.equal(columns[name], values)


@pytest.mark.parametrize("kind", ["grey", "colour"])
def test_a_folder_of_png_files_and_their_weights(tmp_path: Path, kind: str) -> None:
    write_export(exported(kind), "folder", tmp_path / "out")
    assert torch.equal(read(import_folder(tmp_path / "out"))["image"], SAMPLES[kind][ROWS])
    frame = pd.read_csv(tmp_path / "out" / "weights.csv")
    assert frame["file"].tolist() == sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert frame["label"].tolist() == LABELS[ROWS].tolist()
    with open(tmp_path / "out" / "weights.csv") as file:
        lines = list(csv.DictReader(file))
    for name, values in NUMBERS.items():
        np.testing.assert_allclose(frame[name], values, rtol=1e-15)  # pandas may be a unit in the last place off
        assert [float(line[name]) for line in lines] == values.tolist()


@pytest.mark.parametrize("kind", SAMPLES)
def test_other_readers_of_parquet(tmp_path: Path, kind: str) -> None:
    export, path = exported(kind), tmp_path / "out.parquet"
    write_export(export, "parquet", path)
    datasets.disable_progress_bars()
    dataset = datasets.load_dataset("parquet", data_files=str(path), cache_dir=str(tmp_path / "cache"))["train"]
    table, frame = pq.read_table(path), pd.read_parquet(path)
    for name, values in NUMBERS.items():
        assert table[name].to_pylist() == values.tolist()
        np.testing.assert_array_equal(frame[name].to_numpy(), values.numpy())
        assert dataset[name][:] == values.tolist()
    samples = SAMPLES[kind][ROWS]
    if export.samples == "image":
        pixels = np.stack([np.asarray(image) for image in dataset["image"]]).reshape(40, 5, 4, -1)
        np.testing.assert_array_equal(pixels, samples.permute(0, 2, 3, 1).numpy())
    else:
        np.testing.assert_array_equal(np.stack(frame["vector"].to_list()), samples.numpy())
        assert table["vector"].to_pylist() == samples.tolist()
        assert dataset["vector"][:] == samples.tolist()


def test_an_array_file_of_numpy(tmp_path: Path) -> None:
    write_export(exported("colour"), "npz", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as file:
        assert sorted(file.files) == ["image", "label", "log_ratio", "weight"]
        np.testing.assert_array_equal(file["image"], SAMPLES["colour"][ROWS].permute(0, 2, 3, 1).numpy())
        np.testing.assert_array_equal(file["weight"], NUMBERS["weight"].numpy())


@pytest.mark.parametrize("form", ["parquet", "npz", "folder"])
def test_whole_or_not_at_all(tmp_path: Path, form: str, monkeypatch: Any) -> None:
    """Nothing is overwritten, and what fails in the middle leaves nothing."""
    export, path = exported("grey"), tmp_path / ("out" if form == "folder" else f"out.{form}")
    blocks = Export.blocks

    def failing(self: Export, names: Any = None) -> Any:
        yield next(blocks(self, names))
        raise InputError("the disk is gone")

    monkeypatch.setattr(Export, "blocks", failing)
    with pytest.raises(InputError, match="the disk is gone"):
        write_export(export, form, path)
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    write_export(export, form, path)
    with pytest.raises(InputError, match=f"{path}: exists already"):
        write_export(export, form, path)


@pytest.mark.parametrize(
    ("samples", "form", "name", "told"),
    [
        ({"vector": SAMPLES["float32"]}, "folder", "out", r"vector float32 \[6\]: --to folder writes PNG files"),
        ({"image": SAMPLES["grey"].float()}, "parquet", "out.parquet", "of uint8 images of one or three channels"),
        ({"image": SAMPLES["grey"].repeat(1, 4, 1, 1)}, "folder", "out", "one or three channels: give --to npz"),
        ({"image": SAMPLES["grey"]}, "parquet", "out.npz", "expected a name that ends in .parquet"),
        ({"image": SAMPLES["grey"]}, "folder", "out.npz", "the name of a file: give --to npz"),
    ],
)
def test_what_a_format_cannot_hold(
    tmp_path: Path, samples: dict[str, torch.Tensor], form: str, name: str, told: str
) -> None:
    with pytest.raises(InputError, match=told) as error:
        write_export(Export(TensorTable(samples), ROWS, NUMBERS), form, tmp_path / name)
    assert "\n" not in str(error.value)
    assert not (tmp_path / name).exists()


def test_an_imported_export_is_a_cache_with_log_ratios(tmp_path: Path) -> None:
    write_export(exported("float64"), "parquet", tmp_path / "out.parquet")
    with CacheWriter(tmp_path / "cache") as writer:
        for block in import_parquet(tmp_path / "out.parquet").blocks(7):
            writer.write(block)
    cache = SampleCache(tmp_path / "cache")
    assert torch.equal(cache["vector"], SAMPLES["float64"][ROWS])
    assert torch.equal(cache["log_ratio"], NUMBERS["log_ratio"])
