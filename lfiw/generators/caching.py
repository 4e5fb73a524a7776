"""Fills a cache from any generator, by any number of processes, and describes it."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor, distributed

from lfiw.data.cache.manifest import dtype_name, layouts_of
from lfiw.data.cache.reader import SampleCache
from lfiw.data.cache.remote import check_remote_target, outgoing_folder, upload
from lfiw.data.cache.shards import SHARD_BYTES
from lfiw.data.cache.writer import PlannedWriter, check_target, unfinished
from lfiw.data.importers import Imported
from lfiw.errors import InputError
from lfiw.generators.protocol import Generator, sample_rows
from lfiw.training.processes import by_first_process, join_processes
from lfiw.training.progress import reporting

BATCH_ROWS = 100


def write_cache(
    open_source: Callable[[], Generator],
    out: str,
    *,
    num: int | None = None,
    seed: int = 0,
    classes: int = 0,
    overwrite: bool = False,
    append: bool = False,
    verify: bool = False,
    **options: Any,
) -> None:
    """Writes the samples of a source into a cache and reports what is in it.

    Args:
        open_source: called once the target is known to be free, since opening may take minutes of reading.
        out: a folder, or a URL, to which the cache is uploaded after it was written on this machine.
        verify: recompute every SHA-256 at the end.
        num, seed, classes, append, options: as for `cache_samples`.

    Raises:
        InputError: as `cache_samples`, or something exists at the target.
    """
    started, is_remote = time.perf_counter(), "://" in out
    if is_remote and append:
        raise InputError("--append goes with folders: give the new rows a URL of their own")
    join_processes()
    if is_remote:
        by_first_process(lambda: check_remote_target(out, overwrite))
    elif not append:
        by_first_process(lambda: check_target(Path(out), overwrite))
    generator = open_source()
    path = outgoing_folder(out, [generator.source, num, seed, classes]) if is_remote else Path(out)
    rate = 0.0
    if not (is_remote and path.exists()):  # it exists if an upload was stopped
        options |= {"append": append, "overwrite": overwrite and not is_remote}
        rate = cache_samples(generator, path, num=num, seed=seed, classes=classes, **options)
    if is_remote:
        by_first_process(lambda: upload(path, out))
    if processes()[0]:
        return
    cache = SampleCache(out)
    if verify:
        cache.verify()
    first, *_, identity = describe(cache, out)
    print(first, *(f"  {note}" for note in generator.notes), sep="\n")
    seconds, checked = time.perf_counter() - started, ", verified" if verify else ""
    print(f"{identity}, {seconds:.1f} s, {rate:,.0f} samples per second{checked}")


def cache_samples(
    generator: Generator,
    path: Path,
    *,
    num: int | None = None,
    seed: int = 0,
    batch_size: int = BATCH_ROWS,
    classes: int = 0,
    shard_bytes: int = SHARD_BYTES,
    overwrite: bool = False,
    append: bool = False,
    restart: bool = False,
    progress: bool = True,
) -> float:
    """Writes samples 0, 1, … of a seed, each process its own shards; returns samples per second.

    The content depends on generator, num, seed and classes alone. A killed run resumes after its last whole shards.

    Args:
        num: number of samples. If None, all samples of a file.
        batch_size: samples per call, for generators that draw samples one by one.
        classes: if above 0, sample i has class i mod classes.
        append: add `num` samples after the existing ones.

    Raises:
        InputError: as `PlannedWriter`, or num, seed, classes or batch_size do not fit the generator.
    """
    num = check_numbers(generator, num, seed, batch_size, classes, append)
    rank, world_size = processes()
    barrier = distributed.barrier if world_size > 1 else None
    is_drawn = generator.num_rows is None
    source = {**generator.source, **({"seed": seed, "classes": classes} if is_drawn else {})}
    layouts = layouts_of(sample_rows(generator, 0, 1, seed=seed, classes=classes))
    size = generator.block_rows if isinstance(generator, Imported) else batch_size
    started, written = time.perf_counter(), 0
    with PlannedWriter(
        path,
        num,
        layouts,
        source=source,
        shard_bytes=shard_bytes,
        rank=rank,
        world_size=world_size,
        barrier=barrier,
        overwrite=overwrite,
        append=append,
        restart=restart,
    ) as writer:
        pieces = writer.missing()
        total = sum(piece.stop - piece.start for piece in pieces)

        def blocks(start: int, stop: int) -> Iterator[dict[str, Tensor]]:
            first = start
            while first < stop:
                last = min(first - first % size + size, stop)  # the same batches however shards are cut
                yield sample_rows(generator, first, last, seed=seed, classes=classes)
                advance(last - first)
                first = last

        stage = "caching" if world_size == 1 else f"caching, process 1 of {world_size}"
        with reporting(stage, total, "samples", shown=progress and rank == 0) as advance:
            for piece in pieces:
                writer.write(piece, blocks(piece.start, piece.stop))
                written += piece.stop - piece.start
    return written * world_size / (time.perf_counter() - started)


def check_numbers(generator: Generator, num: int | None, seed: int, batch_size: int, classes: int, append: bool) -> int:
    """Returns the number of samples to write.

    Raises:
        InputError: a number is missing or impossible.
    """
    if batch_size < 1 or classes < 0 or not 0 <= seed < 2**62:
        raise InputError(f"batch size {batch_size} must be at least 1, classes {classes} and seed {seed} not negative")
    there = generator.num_rows
    if there is None:
        if num is None or num < 1:
            given = "" if num is None else f" (it is {num})"
            raise InputError(f"how many samples? Give --num-samples N, at least 1{given}")
        return num
    if append:
        raise InputError("--append goes with generators that draw samples; these are there already, in a fixed number")
    if num is not None and not 1 <= num <= there:
        raise InputError(f"--num-samples {num}: there are {there:,} samples: give 1 to {there}")
    return num or there


def processes() -> tuple[int, int]:
    """Returns rank and number of this group's processes."""
    return (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)


def describe(cache: SampleCache, name: str) -> list[str]:
    """Says what a cache holds, in lines."""
    columns = [cache.column(column) for column in cache.columns]
    shapes = ", ".join(f"{column.name} {dtype_name(column.dtype)} {list(column.shape)}" for column in columns)
    lines = [f"{name}: {len(cache):,} rows, {shapes}"]
    lines += [f"  {key}: {value}" for key, value in cache.source.items() if key != "notes"]
    return [*lines, f"  identity {cache.identity[:12]}"]


def describe_unfinished(path: Path) -> str | None:
    """Describes in one line the work that a stopped run left beside a path."""
    rows = unfinished(path)
    return f"{path}: unfinished, {rows[0]:,} of {rows[1]:,} rows: run the same command again" if rows else None
