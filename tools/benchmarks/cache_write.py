"""Images into a cache, hashed and synced to the disk, against HF datasets' `save_to_disk`."""

import hashlib
import os
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from lfiw.data import CacheWriter

from .cache_random_batches import SHAPE, arrow_dataset
from .measure import Row, compare, interleave, limit_beside, seconds_each

GOAL_RATE = 90_000
BLOCK = 1000  # images at a time, as a generator gives them


def run(rounds: int, num_images: int = 100_000) -> list[Row]:
    """Write, hash, sync; the peer writes only."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (num_images, *SHAPE), dtype=torch.uint8, generator=generator)
    with TemporaryDirectory() as name:
        folder = Path(name)

        def side(write: Callable[[Path], object]) -> Callable[[], float]:
            def fresh() -> float:
                shutil.rmtree(folder / "one", ignore_errors=True)
                (folder / "one").mkdir()
                return seconds_each(lambda: write(folder / "one"), num_images)()

            return fresh

        sides = {
            "ours": side(lambda path: write_cache(images, path / "cache")),
            "peer": side(lambda path: arrow_dataset(images, path)),
            "plain": side(lambda path: write_plain(images, path / "file")),
        }
        seconds = interleave(sides, rounds)
    ours = statistics.median(seconds["ours"])
    what = "SHA-256 of the same bytes, one plain write and fsync"
    return [
        compare(
            "cache_write",
            "HF datasets, save_to_disk (no hash, no fsync)",
            seconds["ours"],
            seconds["peer"],
            unit="images/s",
            goal=None,
            limit=limit_beside(what, seconds["ours"], seconds["plain"]),
            note=f"{num_images:,} uint8 images of 3×32×32 in blocks of {BLOCK:,}; at least {GOAL_RATE:,} images/s are "
            f"meant: {'met' if 1 / ours >= GOAL_RATE else 'missed'}",
        )
    ]


def write_cache(images: Tensor, path: Path) -> None:
    with CacheWriter(path) as writer:
        for block in images.split(BLOCK):
            writer.write({"image": block})


def write_plain(images: Tensor, path: Path) -> None:
    data = images.numpy().data.cast("B")
    hashlib.sha256(data).hexdigest()
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
