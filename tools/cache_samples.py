"""Put a generator's samples into a cache.

python tools/cache_samples.py npz samples.npz --out cache/mine
python tools/cache_samples.py folder samples/ --out cache/mine
python tools/cache_samples.py dagan --checkpoint FILE --drawings cache/omniglot-evaluation --num-per-image 10 \
    --out cache/omniglot-dagan
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lfiw.cli import run_script
from lfiw.data.importers.commands import add_command, add_file_commands, write_cache

if TYPE_CHECKING:
    from lfiw.data.importers.imported import Imported


def dagan(options: argparse.Namespace) -> "Imported":
    from lfiw.data import SampleCache
    from lfiw.data.omniglot import training_drawings
    from lfiw.generators.dagan import import_generated

    rows = None
    if options.shots is not None:
        rows = training_drawings(
            SampleCache(options.drawings)["label"],
            num_classes=options.num_classes,
            shots=options.shots,
            split_seed=options.split_seed,
        )
    return import_generated(options.checkpoint, options.drawings, options.num_per_image, options.seed, rows)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="SOURCE")
    add_file_commands(commands)
    command = add_command(commands, "dagan", "Other drawings of given ones, by a generator of task=dagan.", dagan)
    command.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FILE", help="generator.safetensors, or a checkpoint (.ckpt)"
    )
    command.add_argument("--drawings", type=Path, required=True, metavar="DIR", help="cache of the given drawings")
    command.add_argument("--num-per-image", type=int, default=10, metavar="M", help="of each (default: 10)")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise (default: 0)")
    command.add_argument(
        "--shots", type=int, metavar="N", help="only for the drawings that train with data.shots=N (default: for all)"
    )
    command.add_argument("--num-classes", type=int, default=0, metavar="N", help="with --shots: data.num_classes=N")
    command.add_argument("--split-seed", type=int, default=0, metavar="N", help="with --shots: data.split_seed=N")
    write_cache(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(run_script(main))
