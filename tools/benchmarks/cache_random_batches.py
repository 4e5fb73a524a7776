"""Random batches of images from disk: `SampleCache` against HF datasets' Arrow files."""

import os
import statistics
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lfiw.data import CacheWriter, SampleCache

from .measure import Row, Side, compare, copy_bandwidth, drain, fastest, interleave, limit_beside, seconds_each

SHAPE = (3, 32, 32)
BYTES = 3 * 32 * 32
GOAL, GOAL_RATE = 4.0, 700_000

Reader = Callable[[list[int]], Tensor]  # row numbers, as a data loader gives them → (rows, 3, 32, 32) uint8


def run(rounds: int, num_images: int = 200_000, batch: int = 256, num_batches: int = 200) -> list[Row]:
    """Warm page cache, one process."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (num_images, *SHAPE), dtype=torch.uint8, generator=generator)
    rows = torch.randint(num_images, (num_batches, batch), generator=generator).tolist()
    with TemporaryDirectory() as folder:
        readers = all_readers(images, Path(folder))
        sides = {name: reading(reader, rows) for name, reader in readers.items()}
        for reader in readers.values():  # every page of the files into memory
            drain(reader(list(range(start, min(start + 4096, num_images)))) for start in range(0, num_images, 4096))
        best = fastest({name: sides[name] for name in ("HF numpy", "HF torch")})
        kept = {name: sides[name] for name in ("ours", best, "HF arrow", "RAM")}
        seconds = interleave(kept, rounds)
    ours = statistics.median(seconds["ours"])
    limit = limit_beside("index_select in a tensor in memory", seconds["ours"], seconds["RAM"])
    limit["share_of_copy_bandwidth"] = 2 * BYTES / ours / copy_bandwidth()
    note = f"{num_images:,} uint8 images of 3×32×32, {batch} a batch, warm page cache; goal also {GOAL_RATE:,} images/s"
    return [
        compare(
            "cache_random_batches",
            f"HF datasets, with_format({best.removeprefix('HF ')!r}, dtype uint8)",
            seconds["ours"],
            seconds[best],
            unit="images/s",
            goal=GOAL,
            limit=limit,
            note=note,
            also_met=1 / ours >= GOAL_RATE,
        ),
        compare(
            "cache_random_batches_arrow",
            "HF datasets, with_format('arrow'), buffers turned into a tensor by hand",
            seconds["ours"],
            seconds["HF arrow"],
            unit="images/s",
            goal=None,
            note="for information: what a reader's own code on Arrow's buffers can reach",
        ),
    ]


def reading(reader: Reader, rows: list[list[int]]) -> Side:
    return seconds_each(lambda: drain(map(reader, rows)), len(rows) * len(rows[0]))


def all_readers(images: Tensor, folder: Path) -> dict[str, Reader]:
    """The same images behind each interface."""
    with CacheWriter(folder / "cache") as writer:
        writer.write({"image": images})
    cache = SampleCache(folder / "cache")
    arrow = arrow_dataset(images, folder)
    as_numpy = arrow.with_format("numpy", dtype=np.uint8)
    as_torch = arrow.with_format("torch", dtype=torch.uint8)
    as_arrow = arrow.with_format("arrow")
    return {
        "ours": lambda rows: cache.__getitems__(rows)["image"],
        "HF numpy": lambda rows: torch.from_numpy(as_numpy[rows]["image"]).view(-1, *SHAPE),
        "HF torch": lambda rows: as_torch[rows]["image"].view(-1, *SHAPE),
        "HF arrow": lambda rows: from_arrow(as_arrow[rows]["image"]),
        "RAM": lambda rows: images.index_select(0, torch.tensor(rows)),
    }


def arrow_dataset(images: Tensor, folder: Path) -> Any:
    """A memory-mapped Arrow data set of fixed-length lists of bytes: several times faster to read than Array3D."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ["HF_HOME"] = str(folder / "home")  # nothing is left in the user's own
    import datasets
    import pyarrow as pa

    datasets.disable_progress_bars()
    pixels = pa.FixedSizeListArray.from_arrays(pa.array(images.flatten().numpy()), BYTES)
    datasets.Dataset(pa.table({"image": pixels})).save_to_disk(folder / "arrow")
    return datasets.load_from_disk(folder / "arrow")


def from_arrow(column: Any) -> Tensor:
    """(rows, 3, 32, 32) of a chunked column."""
    pixels = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return torch.frombuffer(bytearray(pixels), dtype=torch.uint8).view(-1, *SHAPE)
