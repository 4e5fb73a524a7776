"""Samples that exist already: what an importer returns, and the arguments of the commands that import."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lfiw.errors import InputError
from lfiw.files import location_argument

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Imported:
    """Rows of a file, a folder or another cache: a generator (`lfiw.generators.protocol`) that has drawn already.

    Attributes:
        source: provenance for the cache's manifest.
        notes: what was detected or decided, one line each, to be reported to the user.
        num_rows: how many there are.
        read: (start, stop) → those rows, as column name → (stop − start, …).
        block_rows: how many are read at once.
    """

    source: dict[str, Any]
    notes: tuple[str, ...]
    num_rows: int
    read: Callable[[int, int], dict[str, Tensor]]
    block_rows: int = BLOCK_ROWS
    rows_per_seed: ClassVar[int] = 1

    def blocks(self, block_rows: int | None = None) -> Iterator[dict[str, Tensor]]:
        """Yields all rows in order, `block_rows` at a time."""
        size = block_rows or self.block_rows
        for start in range(0, self.num_rows, size):
            yield self.read(start, min(start + size, self.num_rows))

    def first(self, num: int) -> Imported:
        """Returns the first rows alone.

        Raises:
            InputError: there are fewer.
        """
        if not 0 < num <= self.num_rows:
            raise InputError(f"--first {num}: expected 1 … {self.num_rows:,}, the number of rows")
        return replace(self, source={**self.source, "first": num}, num_rows=num)

    def sample(self, num: int, generator: torch.Generator, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Draws rows at random, with replacement."""
        import torch

        if labels is not None:
            raise InputError("these samples are there already: they cannot be asked for by label")
        rows = torch.randint(self.num_rows, (num,), generator=generator).tolist()
        parts = [self.read(row, row + 1) for row in rows]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def import_cache(where: str, columns: Sequence[str] | None = None) -> Imported:
    """Imports columns of a cache, a folder or a URL; if None, its base columns."""
    from lfiw.data.cache.reader import SampleCache

    cache = SampleCache(where)
    names = list(cache[[0]]) if columns is None else list(columns)
    source = {"cache": cache.path.name, "identity": cache.identity, "source": cache.source}
    return Imported(
        source, (f"all rows of {cache!r}",), len(cache), lambda start, stop: cache.read(slice(start, stop), names)
    )


NPZ = "Images or vectors in a .npz or .npy file."
FOLDER = "Images in a folder; sub-folders are classes."
ZIP = "Images in a zip archive; its folders are classes."
PARQUET = "Images or vectors in Parquet files (extra: parquet)."
HUGGINGFACE = "A Hugging Face data set that save_to_disk wrote (extra: parquet)."
CSV = "Columns of numbers in a CSV file."


def add_npz_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="images (N, H, W), (N, C, H, W), (N, H, W, C); vectors (N, D)"
    )
    parser.add_argument("--key", metavar="NAME", help="which array of the .npz holds the samples")
    add_pixel_arguments(parser)


def add_pixel_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds how arrays of images are read."""
    parser.add_argument(
        "--layout", choices=("nchw", "nhwc", "nhw", "hwcn"), help="order of the axes (default: detected by the shape)"
    )
    parser.add_argument(
        "--range",
        dest="value_range",
        choices=("unit", "signed", "byte"),
        help="values go from 0 to 1, -1 to 1, 0 to 255 (default: detected by the values)",
    )


def add_column_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds which columns of a table are the samples."""
    parser.add_argument(
        "--columns", nargs="+", metavar="NAME", help="of the samples (default: images, or lists, or all numbers)"
    )
    parser.add_argument("--without", nargs="+", default=(), metavar="NAME", help="columns to leave out")
    parser.add_argument("--label", metavar="NAME", help="classes (default: label, labels or fine_label)")


def add_parquet_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="PATH", help="a file, or a folder of *.parquet")
    add_table_arguments(parser)


def add_huggingface_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="DIR", help="of save_to_disk")
    add_table_arguments(parser)


def add_table_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what Parquet files and Hugging Face data sets have in common."""
    add_column_arguments(parser)
    parser.add_argument("--split", metavar="NAME", help="which split, if there are several")
    add_image_arguments(parser)
    add_pixel_arguments(parser)


def add_csv_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a table of numbers")
    add_column_arguments(parser)
    parser.add_argument("--delimiter", metavar="C", help="between cells (default: detected)")
    parser.add_argument(
        "--header", action=argparse.BooleanOptionalAction, help="the first line holds names (default: detected)"
    )


def add_folder_arguments(parser: argparse.ArgumentParser, name: str, metavar: str) -> None:
    parser.add_argument(name, type=Path, metavar=metavar)
    add_image_arguments(parser)


def add_image_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds how image files are read."""
    parser.add_argument("--size", type=int, metavar="N", help="crop to the central square and resize to N × N")
    parser.add_argument("--skip-bad", action="store_true", help="leave out files that cannot be decoded, and name them")


def add_cache_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cache", type=location_argument, metavar="CACHE", help="folder or URL")
