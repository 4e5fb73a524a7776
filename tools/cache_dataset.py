"""Put a data set of real samples into a cache.

python tools/cache_dataset.py digits --out cache/digits
python tools/cache_dataset.py cifar10 --split train --out cache/cifar10-train
python tools/cache_dataset.py omniglot --split background --out cache/omniglot-background
python tools/cache_dataset.py npz images.npz --out cache/mine
python tools/cache_dataset.py folder images/ --out cache/mine
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lfiw.cli import Parser, run_script
from lfiw.data.importers import add_command, add_file_commands, write_cache

if TYPE_CHECKING:
    from lfiw.data.importers import Imported

NAMES = ("cifar10", "cifar100", "mnist", "fashion_mnist", "kmnist", "svhn", "stl10")


def named(options: argparse.Namespace, name: str) -> "Imported":
    from lfiw.data.importers.datasets import import_dataset

    return import_dataset(name, options.split, options.root)


def digits(options: argparse.Namespace) -> "Imported":
    from lfiw.data.importers.datasets import import_digits

    return import_digits()


def omniglot(options: argparse.Namespace) -> "Imported":
    from lfiw.data.importers.datasets import import_omniglot

    return import_omniglot(options.split, options.root, options.npz, options.size)


def main(arguments: list[str]) -> None:
    parser = Parser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="SOURCE")
    add_command(commands, "digits", "The 8 × 8 digits of scikit-learn; no download.", digits)
    for name in NAMES:
        command = add_command(commands, name, f"{name} of torchvision.", partial(named, name=name))
        command.add_argument("--split", choices=("train", "test"), required=True)
        command.add_argument("--root", type=Path, default=Path("data"), metavar="DIR", help="downloads (default: data)")
    command = add_command(commands, "omniglot", "Omniglot of torchvision, or of an .npz file.", omniglot)
    command.add_argument("--split", choices=("background", "evaluation"), required=True)
    command.add_argument("--root", type=Path, default=Path("data"), metavar="DIR", help="downloads (default: data)")
    command.add_argument("--npz", type=Path, metavar="FILE", help="images, character, alphabet, drawer; no download")
    command.add_argument("--size", type=int, default=28, metavar="N", help="side of the images (default: 28; to 105)")
    add_file_commands(commands)
    write_cache(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(run_script(main))
