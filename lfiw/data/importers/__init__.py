"""What an importer leaves, and the arguments of the commands that import."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Imported:
    """Samples that can be written to a cache.

    Attributes:
        source: provenance for the cache's manifest.
        notes: what was detected or decided, one line each, to be told to the user.
        num_rows: how many there are.
        read: (start, stop) → those rows, as column name → (stop − start, …).
        block_rows: how many are read at once.
    """

    source: dict[str, Any]
    notes: tuple[str, ...]
    num_rows: int
    read: Callable[[int, int], dict[str, Tensor]]
    block_rows: int = BLOCK_ROWS

    def blocks(self) -> Iterator[dict[str, Tensor]]:
        """All rows in order."""
        for start in range(0, self.num_rows, self.block_rows):
            yield self.read(start, min(start + self.block_rows, self.num_rows))


NPZ = "Images or vectors in a .npz or .npy file."
FOLDER = "Images in a folder; sub-folders are classes."
ZIP = "Images in a zip archive; its folders are classes."


def add_command(commands: Any, name: str, summary: str, importer: Any) -> argparse.ArgumentParser:
    """A sub-command that writes a cache; `importer` maps its arguments to an `Imported`."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the cache to write, as in cache/mine")
    parser.add_argument("--overwrite", action="store_true", help="replace the cache that is there")
    parser.add_argument("--shard-mb", type=int, default=64, metavar="MB", help="size of a file (default: 64)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(importer=importer)
    return parser


def add_file_commands(commands: Any) -> None:
    """`npz FILE`, `folder DIR` and `zip FILE`."""
    add_npz_arguments(add_command(commands, "npz", NPZ, import_file))
    add_folder_arguments(add_command(commands, "folder", FOLDER, import_files), "folder", "DIR")
    add_folder_arguments(add_command(commands, "zip", ZIP, import_archive), "file", "FILE")


def add_npz_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="images (N, H, W), (N, C, H, W), (N, H, W, C); vectors (N, D)"
    )
    parser.add_argument("--key", metavar="NAME", help="which array of the .npz holds the samples")
    add_pixel_arguments(parser)


def add_pixel_arguments(parser: argparse.ArgumentParser) -> None:
    """How arrays of images are read."""
    parser.add_argument(
        "--layout", choices=("nchw", "nhwc", "nhw", "hwcn"), help="order of the axes (default: detected by the shape)"
    )
    parser.add_argument(
        "--range",
        dest="value_range",
        choices=("unit", "signed", "byte"),
        help="values go from 0 to 1, -1 to 1, 0 to 255 (default: detected by the values)",
    )


def add_folder_arguments(parser: argparse.ArgumentParser, name: str, metavar: str) -> None:
    parser.add_argument(name, type=Path, metavar=metavar)
    parser.add_argument("--size", type=int, metavar="N", help="crop to the central square and resize to N × N")
    parser.add_argument("--skip-bad", action="store_true", help="leave out files that cannot be decoded, and name them")


def import_file(options: argparse.Namespace) -> Imported:
    from lfiw.data.importers.arrays import import_arrays

    return import_arrays(options.file, options.key, options.layout, options.value_range)


def import_files(options: argparse.Namespace) -> Imported:
    from lfiw.data.importers.folders import import_folder

    return import_folder(options.folder, options.size, options.skip_bad)


def import_archive(options: argparse.Namespace) -> Imported:
    from lfiw.data.importers.folders import import_zip

    return import_zip(options.file, options.size, options.skip_bad)


def write_cache(options: argparse.Namespace) -> None:
    """Imports what the arguments name, writes the cache and tells what is in it."""
    started = time.perf_counter()
    from lfiw.data.cache.manifest import dtype_name
    from lfiw.data.cache.reader import SampleCache
    from lfiw.data.cache.writer import CacheWriter, check_target

    check_target(options.out, options.overwrite)  # before minutes of reading
    imported = options.importer(options)
    with CacheWriter(
        options.out, source=imported.source, shard_bytes=options.shard_mb << 20, overwrite=options.overwrite
    ) as writer:
        for block in imported.blocks():
            writer.write(block)
    cache = SampleCache(options.out)
    columns = [cache.column(name) for name in cache.columns]
    shapes = ", ".join(f"{column.name} {dtype_name(column.dtype)} {list(column.shape)}" for column in columns)
    print(f"{options.out}: {len(cache):,} rows, {shapes}")
    for note in imported.notes:
        print(f"  {note}")
    print(f"  identity {cache.identity[:12]}, {time.perf_counter() - started:.1f} s")
