"""Put a generator's samples into a cache.

python tools/cache_samples.py npz samples.npz --out cache/mine
python tools/cache_samples.py folder samples/ --out cache/mine                       or: zip FILE, cache DIR
python tools/cache_samples.py trained runs/sngan/ID --num-samples 50000 --out cache/sngan
python tools/cache_samples.py callable mine.py:sample --num-samples 50000 --out cache/mine
python tools/cache_samples.py exported generator.pt2 --num-samples 50000 --out cache/mine
torchrun --nproc-per-node 4 tools/cache_samples.py trained RUN --num-samples 1000000 --out cache/mine
python tools/cache_samples.py trained RUN --num-samples 10000 --out cache/mine --append      10,000 more
python tools/cache_samples.py trained RUN --num-samples 50000 --out s3://bucket/mine         (extra: s3)
python tools/cache_samples.py dagan --checkpoint FILE --drawings cache/omniglot-evaluation --num-per-image 10 \\
    --out cache/omniglot-dagan
python tools/cache_samples.py info cache/mine                                        or: verify cache/mine

A run that was stopped goes on when the same command is given again.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lfiw.cli import DEBUG, Parser, run_script
from lfiw.errors import InputError
from lfiw.files import location_argument
from lfiw.generators import SOURCES, Source

if TYPE_CHECKING:
    from lfiw.generators.generator import Generator

SHORTHAND = ("--callable", "--info", "--verify")  # these may be given as options too


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="SOURCE", dest="source")
    for name, source in sources().items():
        command = commands.add_parser(name, help=source.summary, description=source.summary)
        source.add_arguments(command)
        add_writing(command)
    for name, summary in (("info", "What is in a cache."), ("verify", "Recompute every SHA-256 of a cache.")):
        command = commands.add_parser(name, help=summary, description=summary)
        command.add_argument("cache", type=location_argument, metavar="CACHE", help="folder or URL")
        command.add_argument(DEBUG, action="store_true", help="show the traceback of an error")
    if arguments and arguments[0] in SHORTHAND:
        arguments = [arguments[0].removeprefix("--"), *arguments[1:]]
    return parser.parse_args(arguments)


def sources() -> dict[str, Source]:
    """Those of every kind of run, by name."""
    summary = "Other drawings of given ones, by a generator of task=dagan; --seed is that of its noise."
    return {**SOURCES, "dagan": Source(summary, add_drawings, open_drawings)}


def add_drawings(parser: argparse.ArgumentParser) -> None:
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


def open_drawings(options: argparse.Namespace) -> "Generator":
    from lfiw.data import SampleCache
    from lfiw.generators.generator import RecordedSamples
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
    return RecordedSamples(
        import_generated(options.checkpoint, options.drawings, options.num_per_image, options.seed, rows)
    )


def add_writing(command: argparse.ArgumentParser) -> None:
    """What is asked of the cache, the same for every source."""
    command.add_argument(
        "--out",
        type=location_argument,
        required=True,
        metavar="DIR",
        help="the cache to write: a folder, or a URL (s3://…)",
    )
    command.add_argument(
        "--num-samples", type=int, metavar="N", help="how many (default: all, where the source has a number)"
    )
    command.add_argument("--seed", type=int, default=0, help="sample i is drawn with the seed (SEED, i) (default: 0)")
    command.add_argument("--batch-size", type=int, default=100, metavar="N", help="samples a call (default: 100)")
    command.add_argument(
        "--classes", type=int, default=0, metavar="N", help="ask for classes 0 … N-1 in turn, and keep them as labels"
    )
    command.add_argument("--shard-mb", type=int, default=64, metavar="MB", help="size of a file (default: 64)")
    command.add_argument("--overwrite", action="store_true", help="replace the cache that is there")
    command.add_argument("--append", action="store_true", help="add N samples behind those of the cache that is there")
    command.add_argument("--restart", action="store_true", help="throw away what a stopped run has left")
    command.add_argument("--verify", action="store_true", help="recompute every SHA-256 at the end")
    command.add_argument(DEBUG, action="store_true", help="show the traceback of an error")


def main(arguments: list[str]) -> None:
    options = parse(arguments)
    if options.source in ("info", "verify"):
        look(options)
    else:
        write(options)


def look(options: argparse.Namespace) -> None:
    from lfiw.data import SampleCache
    from lfiw.generators.caching import describe, tell_unfinished

    started = time.perf_counter()
    try:
        cache = SampleCache(options.cache)
    except InputError:
        told = tell_unfinished(Path(options.cache))
        if told is None:
            raise
        raise InputError(told) from None
    print(*describe(cache, options.cache), sep="\n")
    if options.source == "verify":
        cache.verify()
        print(f"  every SHA-256 is as written, {time.perf_counter() - started:.1f} s")


def write(options: argparse.Namespace) -> None:
    """Opens the generator, writes the cache (of a URL here first, and then uploads it), tells what is in it."""
    from lfiw.data.cache.remote import check_remote_target, outgoing_folder, upload
    from lfiw.data.cache.writer import check_target
    from lfiw.generators.caching import cache_samples, processes
    from lfiw.training.processes import by_first_process, join_processes

    started, is_remote = time.perf_counter(), "://" in options.out
    if is_remote and options.append:
        raise InputError("--append goes with folders: give the new rows a URL of their own")
    join_processes()
    # before minutes of reading
    if is_remote:
        by_first_process(lambda: check_remote_target(options.out, options.overwrite))
    elif not options.append:
        by_first_process(lambda: check_target(Path(options.out), options.overwrite))
    generator = sources()[options.source].open(options)
    asked = [generator.source, options.num_samples, options.seed, options.classes]
    path = outgoing_folder(options.out, asked) if is_remote else Path(options.out)
    rate = 0.0
    if not (is_remote and path.exists()):  # there where an upload was stopped
        rate = cache_samples(
            generator,
            path,
            num=options.num_samples,
            seed=options.seed,
            batch_size=options.batch_size,
            classes=options.classes,
            shard_bytes=options.shard_mb << 20,
            overwrite=options.overwrite and not is_remote,
            append=options.append,
            restart=options.restart,
        )
    if is_remote:
        by_first_process(lambda: upload(path, options.out))
    if processes()[0] == 0:
        tell(options, generator.notes, rate, started)


def tell(options: argparse.Namespace, notes: Sequence[str], rate: float, started: float) -> None:
    from lfiw.data import SampleCache
    from lfiw.generators.caching import describe

    cache = SampleCache(options.out)
    if options.verify:
        cache.verify()
    first, *_, identity = describe(cache, options.out)
    print(first, *(f"  {note}" for note in notes), sep="\n")
    seconds, checked = time.perf_counter() - started, ", verified" if options.verify else ""
    print(f"{identity}, {seconds:.1f} s, {rate:,.0f} samples a second{checked}")


if __name__ == "__main__":
    sys.exit(run_script(main, goes_on=True))
