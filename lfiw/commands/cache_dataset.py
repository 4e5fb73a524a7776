"""Put a data set of real samples into a cache.

python tools/cache_dataset.py digits --out cache/digits
python tools/cache_dataset.py cifar10 --split train --out cache/cifar10-train
python tools/cache_dataset.py omniglot --split background --out cache/omniglot-background
python tools/cache_dataset.py npz images.npz --out cache/mine
python tools/cache_dataset.py folder images/ --out cache/mine
python tools/cache_dataset.py parquet data.parquet --out cache/mine        or: huggingface DIR, csv FILE
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from lfiw.cli import Parser, run_script
from lfiw.generators import SOURCES, Source, add_commands, opened_by

HOME = "lfiw.data.importers.datasets"
NAMES = ("cifar10", "cifar100", "mnist", "fashion_mnist", "kmnist", "svhn", "stl10")


def add_split(parser: argparse.ArgumentParser, splits: tuple[str, str] = ("train", "test")) -> None:
    parser.add_argument("--split", choices=splits, required=True)
    parser.add_argument("--root", type=Path, default=Path("data"), metavar="DIR", help="for downloads (default: data)")


def add_first(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--first", type=int, metavar="N", help="take the first N rows alone")


def add_omniglot(parser: argparse.ArgumentParser) -> None:
    add_split(parser, ("background", "evaluation"))
    parser.add_argument(
        "--npz",
        dest="file",
        type=Path,
        metavar="FILE",
        help="images, character, alphabet and drawer; no download",
    )
    parser.add_argument("--size", type=int, default=28, metavar="N", help="side of the images, up to 105 (default: 28)")


DATA_SETS = {
    "digits": Source(
        "The 8 × 8 digits of scikit-learn; no download.", lambda parser: None, opened_by(f"{HOME}:import_digits")
    ),
    **{
        name: Source(
            f"{name} of torchvision.", add_split, opened_by(f"{HOME}:import_dataset", "source", "split", "root")
        )
        for name in NAMES
    },
    "omniglot": Source(
        "Omniglot of torchvision, or of an .npz file.",
        add_omniglot,
        opened_by(f"{HOME}:import_omniglot", "split", "root", "file", "size"),
    ),
    **{name: SOURCES[name] for name in ("npz", "folder", "zip", "parquet", "huggingface", "csv")},
}


def main(arguments: list[str]) -> None:
    parser = Parser(description=__doc__)
    add_commands(parser, DATA_SETS, add_first)
    options = parser.parse_args(arguments)
    from lfiw.generators.caching import write_cache

    def opened() -> Any:
        rows: Any = DATA_SETS[options.source].open(options)  # imported, not drawn
        return rows if options.first is None else rows.first(options.first)

    write_cache(
        opened,
        options.out,
        overwrite=options.overwrite,
        shard_bytes=options.shard_mb << 20,
    )


command = partial(run_script, main, resumes=True)
