"""Samples with numbers beside them, as their log-ratios and weights, in files that other programs read."""

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from lfiw.data.encoding import IMAGE, samples_column
from lfiw.data.image_files import check_images_target, folder_in_place, picture, png_name, write_array
from lfiw.data.importers.arrow import load_pyarrow
from lfiw.data.table import Table, table_name
from lfiw.errors import InputError
from lfiw.files import replacing

BLOCK_BYTES = 1 << 26  # of samples in memory at a time
MOST_ROWS = 1 << 16  # of them
LABEL = "label"
WEIGHTS_FILE = "weights.csv"


@dataclass(frozen=True)
class Export:
    """Rows of a table and the numbers that go with them.

    Args:
        rows: of the table, in the order in which they are written.
        numbers: name → (n,), one per row.
    """

    table: Table
    rows: Int64[Tensor, " n"]
    numbers: Mapping[str, Float64[Tensor, " n"]]

    @property
    def samples(self) -> str:
        """The column of the samples, `image` or `vector`."""
        return samples_column(self.table)

    @property
    def stored(self) -> list[str]:
        """Columns of the table that are written: the samples, and their classes if it has them."""
        return [name for name in (self.samples, LABEL) if name in self.table.columns]

    def blocks(self, names: Sequence[str] | None = None) -> Iterator[dict[str, np.ndarray]]:
        """Yields all rows in order as arrays; if None, of all that is written."""
        names = [*self.stored, *self.numbers] if names is None else names
        column = self.table.column(self.samples)
        row_bytes = max(1, torch.Size(column.shape).numel() * column.dtype.itemsize)
        size = max(1, min(MOST_ROWS, BLOCK_BYTES // row_bytes))
        for start in range(0, len(self.rows), size):
            rows = slice(start, start + size)
            found = self.table.read(self.rows[rows], [name for name in names if name not in self.numbers])
            found |= {name: self.numbers[name][rows] for name in names if name in self.numbers}
            yield {name: found[name].numpy() for name in names}


def write_export(export: Export, form: str, path: Path) -> None:
    """Writes a name in `FORMATS`. The file or folder appears when it is whole; nothing is overwritten.

    Raises:
        InputError: something is there, it cannot be written, or the format does not take such samples.
    """
    check_export_target(form, path)
    if not len(export.rows):
        raise InputError(f"{table_name(export.table)}: there is no row to export")
    FORMATS[form](export, path)


def check_export_target(form: str, path: Path) -> None:
    """Checks that a format can be written there, before anything is read.

    Raises:
        InputError: something is there, the name has another ending, or pyarrow is not installed.
    """
    if form == "parquet":
        load_pyarrow()
    if form == "folder":
        if path.suffix in (".npz", ".parquet"):
            raise InputError(f"--out {path}: the name of a file: give --to {path.suffix[1:]}, or another name")
        check_images_target(path)
        return
    if path.suffix != f".{form}":
        raise InputError(f"--out {path}: expected a name that ends in .{form}")
    if path.exists():
        raise InputError(f"{path}: exists already: choose another name, or remove it")


def check_pictures(export: Export, form: str) -> None:
    """Raises InputError for samples that no PNG file can hold."""
    column = export.table.column(export.samples)
    if column.name != IMAGE or column.dtype != torch.uint8 or column.shape[0] not in (1, 3):
        dtype = str(column.dtype).removeprefix("torch.")
        raise InputError(
            f"{table_name(export.table)}: {column.name} {dtype} {list(column.shape)}: --to {form} writes PNG files, of "
            "uint8 images of one or three channels: give --to npz"
        )


def write_npz(export: Export, path: Path) -> None:
    """Images as (N, H, W, C); everything under the name of its column."""
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in (*export.stored, *export.numbers):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                arrays = (block[name] for block in export.blocks([name]))
                is_image = name == IMAGE and len(export.table.column(name).shape) == 3
                write_array(member, (a.transpose(0, 2, 3, 1) for a in arrays) if is_image else arrays, len(export.rows))


def write_folder(export: Export, path: Path) -> None:
    """PNG files by number, and a CSV file of the numbers that go with them, each in as many digits as it has."""
    check_pictures(export, "folder")
    numbers = [*export.stored[1:], *export.numbers]
    with folder_in_place(path) as folder, open(folder / WEIGHTS_FILE, "w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["file", *numbers])
        number = 0
        for block in export.blocks():
            for image, *values in zip(block[IMAGE], *(block[name].tolist() for name in numbers), strict=True):
                name = png_name(number, len(export.rows))
                picture(torch.from_numpy(image)).save(folder / name)
                lines.writerow([name, *map(repr, values)])
                number += 1


def write_parquet(export: Export, path: Path) -> None:
    """Images as PNG files in the structs that Hugging Face's `datasets` shows; vectors as lists of a fixed size."""
    pyarrow = load_pyarrow()
    from pyarrow.parquet import ParquetWriter

    is_image = export.samples == IMAGE
    if is_image:
        check_pictures(export, "parquet")
    features = {"info": {"features": {IMAGE: {"_type": "Image"}}}}
    metadata = {"huggingface": json.dumps(features)} if is_image else None
    with replacing(path) as temporary:
        writer = None
        try:
            for block in export.blocks():
                table = pyarrow.table({name: as_arrow(values) for name, values in block.items()}, metadata=metadata)
                writer = writer or ParquetWriter(temporary, table.schema)
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()


def as_arrow(values: np.ndarray) -> Any:
    """Images, vectors or numbers as a pyarrow array."""
    pyarrow = load_pyarrow()
    if values.ndim == 4:
        return pyarrow.array(
            [{"bytes": as_png(image), "path": None} for image in values],
            pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]),
        )
    if values.ndim == 2:
        return pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(values.reshape(-1)), values.shape[1])
    return pyarrow.array(values)


def as_png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    picture(torch.from_numpy(image)).save(file, format="PNG")
    return file.getvalue()


FORMATS: dict[str, Callable[[Export, Path], None]] = {
    "parquet": write_parquet,
    "npz": write_npz,
    "folder": write_folder,
}
