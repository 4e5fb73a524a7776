"""`dagan --checkpoint FILE --drawings DIR`: other drawings of given ones."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lfiw.generators.generator import Generator

SUMMARY = "Other drawings of given ones, by a generator of task=dagan; --seed is that of its noise."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FILE", help="generator.safetensors, or a checkpoint (.ckpt)"
    )
    parser.add_argument("--drawings", type=Path, required=True, metavar="DIR", help="cache of the given drawings")
    parser.add_argument("--num-per-image", type=int, default=10, metavar="M", help="of each (default: 10)")
    parser.add_argument(
        "--shots", type=int, metavar="N", help="only for the drawings that train with data.shots=N (default: for all)"
    )
    parser.add_argument("--num-classes", type=int, default=0, metavar="N", help="with --shots: data.num_classes=N")
    parser.add_argument("--split-seed", type=int, default=0, metavar="N", help="with --shots: data.split_seed=N")


def open_source(options: argparse.Namespace) -> "Generator":
    from lfiw.data import SampleCache
    from lfiw.data.omniglot import training_drawings
    from lfiw.generators.dagan import import_generated
    from lfiw.generators.recorded import RecordedSamples

    rows = None
    if options.shots is not None:
        rows = training_drawings(
            SampleCache(options.drawings)["label"],
            num_classes=options.num_classes,
            shots=options.shots,
            split_seed=options.split_seed,
        )
    seed = getattr(options, "seed", 0)  # one for every source on the command line
    return RecordedSamples(import_generated(options.checkpoint, options.drawings, options.num_per_image, seed, rows))
