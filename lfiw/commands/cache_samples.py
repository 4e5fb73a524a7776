"""Put a generator's samples into a cache.

python tools/cache_samples.py npz samples.npz --out cache/mine
python tools/cache_samples.py folder samples/ --out cache/mine                       or: zip FILE, cache DIR
python tools/cache_samples.py parquet samples.parquet --out cache/mine               or: huggingface DIR, csv FILE
python tools/cache_samples.py trained runs/sngan/ID --num-samples 50000 --out cache/sngan
python tools/cache_samples.py callable mine.py:sample --num-samples 50000 --out cache/mine
python tools/cache_samples.py exported generator.pt2 --num-samples 50000 --out cache/mine
torchrun --nproc-per-node 4 tools/cache_samples.py trained RUN --num-samples 1000000 --out cache/mine
python tools/cache_samples.py trained RUN --num-samples 10000 --out cache/mine --append      10,000 more
python tools/cache_samples.py trained RUN --num-samples 50000 --out s3://bucket/mine         (extra: s3)
python tools/cache_samples.py dagan --checkpoint FILE --drawings cache/omniglot-evaluation --num-per-image 10 \\
    --out cache/omniglot-dagan
python tools/cache_samples.py info cache/mine                                        or: verify cache/mine

Re-running the same command resumes it if it was stopped.
"""

import argparse
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lfiw.cli import Parser, run_script
from lfiw.data.importers import add_cache_argument
from lfiw.errors import InputError
from lfiw.generators import SOURCES, Source, add_commands

if TYPE_CHECKING:
    from lfiw.data.importers import Imported

SHORTHAND = ("--callable", "--info", "--verify")  # these may be given as options too


def main(arguments: list[str]) -> None:
    options = parse(arguments)
    if options.source in ("info", "verify"):
        look(options)
        return
    from lfiw.generators.caching import write_cache

    write_cache(
        lambda: sources()[options.source].open(options),
        options.out,
        num=options.num_samples,
        seed=options.seed,
        classes=options.classes,
        overwrite=options.overwrite,
        append=options.append,
        verify=options.verify,
        batch_size=options.batch_size,
        shard_bytes=options.shard_mb << 20,
        restart=options.restart,
    )


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    commands = add_commands(parser, sources(), add_drawing)
    for name, summary in (("info", "Print what a cache holds."), ("verify", "Recompute every SHA-256 of a cache.")):
        add_cache_argument(commands.add_parser(name, help=summary, description=summary))
    if arguments and arguments[0] in SHORTHAND:
        arguments = [arguments[0].removeprefix("--"), *arguments[1:]]
    return parser.parse_args(arguments)


def add_drawing(command: argparse.ArgumentParser) -> None:
    """Adds how samples are drawn and written, the same for every source."""
    command.add_argument(
        "--num-samples", type=int, metavar="N", help="number of samples (default: all, if the source is finite)"
    )
    command.add_argument("--seed", type=int, default=0, help="sample i is drawn with the seed (SEED, i) (default: 0)")
    command.add_argument("--batch-size", type=int, default=100, metavar="N", help="samples per call (default: 100)")
    command.add_argument(
        "--classes", type=int, default=0, metavar="N", help="draw classes 0 … N-1 in turn, and save them as labels"
    )
    command.add_argument("--append", action="store_true", help="append the samples to the existing cache")
    command.add_argument("--restart", action="store_true", help="discard what a stopped run has left")
    command.add_argument("--verify", action="store_true", help="recompute every SHA-256 at the end")


def sources() -> dict[str, Source]:
    """Returns the sources of every kind of run, by name."""
    summary = "New drawings of given characters, by a generator of task=dagan; --seed seeds its noise."
    return {**SOURCES, "dagan": Source(summary, add_drawings, open_drawings)}


def add_drawings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FILE", help="generator.safetensors, or a checkpoint (.ckpt)"
    )
    parser.add_argument("--drawings", type=Path, required=True, metavar="DIR", help="cache of the given drawings")
    parser.add_argument(
        "--num-per-image", type=int, default=10, metavar="M", help="new drawings per given one (default: 10)"
    )
    parser.add_argument(
        "--shots", type=int, metavar="N", help="only of drawings that train with data.shots=N (default: of all)"
    )
    parser.add_argument("--num-classes", type=int, default=0, metavar="N", help="with --shots: data.num_classes=N")
    parser.add_argument("--split-seed", type=int, default=0, metavar="N", help="with --shots: data.split_seed=N")


def open_drawings(options: argparse.Namespace) -> "Imported":
    from lfiw.data import SampleCache
    from lfiw.tasks.augmentation.dagan_drawings import import_generated
    from lfiw.tasks.augmentation.omniglot import training_drawings

    rows = None
    if options.shots is not None:
        rows = training_drawings(
            SampleCache(options.drawings)["label"],
            num_classes=options.num_classes,
            shots=options.shots,
            split_seed=options.split_seed,
        )
    return import_generated(options.checkpoint, options.drawings, options.num_per_image, options.seed, rows)


def look(options: argparse.Namespace) -> None:
    """Prints what a cache holds, or how far an unfinished one has got."""
    from lfiw.data import SampleCache
    from lfiw.generators.caching import describe, describe_unfinished

    started = time.perf_counter()
    try:
        cache = SampleCache(options.cache)
    except InputError:
        if unfinished := describe_unfinished(Path(options.cache)):
            raise InputError(unfinished) from None
        raise
    print(*describe(cache, options.cache), sep="\n")
    if options.source == "verify":
        cache.verify()
        print(f"  every SHA-256 matches, {time.perf_counter() - started:.1f} s")


command = partial(run_script, main, resumes=True)
