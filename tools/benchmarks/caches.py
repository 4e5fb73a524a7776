"""Caches of images: writing them, reading random batches from disk and from a server, loading them for training."""

import hashlib
import logging
import os
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision.transforms import v2

from lfiw.data import CacheWriter, SampleCache
from lfiw.data.batches import MixedBatches, batch_loader
from lfiw.data.cache.remote import upload
from lfiw.data.splits import MixedRows, everything
from lfiw.data.transforms import standardise

from .measure import IMAGE, Row, Side, compare, copy_bandwidth, drain, fastest, images, interleave, race, seconds_each

BYTES = 3 * 32 * 32
WRITE_RATE = 90_000
BLOCK = 1000  # images at a time, as a generator gives them
READ_GOAL, READ_RATE = 4.0, 700_000
REMOTE_GOAL, SHARD_MB = 0.8, 64
LOADER_GOAL = 14.0
PADDING = 4
MEAN, STD = 127.5, 64.0  # of the raw values, the same for each channel

Reader = Callable[[list[int]], Tensor]  # row numbers, as a data loader gives them → (rows, 3, 32, 32) uint8


def run_write(rounds: int, num_images: int = 100_000) -> list[Row]:
    """Times writing, hashing and syncing to disk; the peer only writes."""
    data = images(num_images)

    def side(write: Callable[[Tensor, Path], object]) -> Side:
        def fresh() -> float:
            with TemporaryDirectory() as folder:
                return seconds_each(lambda: write(data, Path(folder)), num_images)()

        return fresh

    sides = {"ours": side(write_cache), "peer": side(arrow_dataset), "plain": side(write_plain)}
    seconds = interleave(sides, rounds)
    outcome = "met" if 1 / statistics.median(seconds["ours"]) >= WRITE_RATE else "missed"
    note = f"{num_images:,} uint8 images of 3×32×32 in blocks of {BLOCK:,}; the goal of {WRITE_RATE:,} images/s was "
    return [
        compare(
            "cache_write",
            "HF datasets, save_to_disk (no hash, no fsync)",
            seconds["ours"],
            seconds["peer"],
            unit="images/s",
            goal=None,
            limit=("SHA-256 of the same bytes, one plain write and fsync", seconds["plain"]),
            note=f"{note}{outcome}",
        )
    ]


def write_cache(data: Tensor, folder: Path, **options: Any) -> SampleCache:
    with CacheWriter(folder / "cache", **options) as writer:
        for block in data.split(BLOCK):
            writer.write({"image": block})
    return SampleCache(folder / "cache")


def write_plain(data: Tensor, folder: Path) -> None:
    content = data.numpy().data.cast("B")
    hashlib.sha256(content).hexdigest()
    with (folder / "file").open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def arrow_dataset(data: Tensor, folder: Path) -> Any:
    """Writes an Arrow data set of fixed-length lists of bytes, which is several times faster to read than Array3D."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ["HF_HOME"] = str(folder / "home")  # so that the user's own stays as it is
    import datasets
    import pyarrow as pa

    datasets.disable_progress_bars()
    pixels = pa.FixedSizeListArray.from_arrays(pa.array(data.flatten().numpy()), BYTES)
    datasets.Dataset(pa.table({"image": pixels})).save_to_disk(folder / "arrow")
    return datasets.load_from_disk(folder / "arrow")


def run_random_batches(rounds: int, num_images: int = 200_000, batch: int = 256, num_batches: int = 200) -> list[Row]:
    """Times random batches in one process, with a warm page cache; the peer uses the faster of its two formats."""
    data, rows = images(num_images), random_rows(num_images, batch, num_batches)
    with TemporaryDirectory() as folder:
        readers = all_readers(data, Path(folder))
        sides = {name: reading(reader, rows) for name, reader in readers.items()}
        for reader in readers.values():
            whole_pass(reader, num_images)
        best = fastest({name: sides[name] for name in ("HF numpy", "HF torch")})
        seconds = interleave({name: sides[name] for name in ("ours", best, "HF arrow", "RAM")}, rounds)
    note = f"{num_images:,} uint8 images of 3×32×32, {batch} per batch, warm page cache; "
    note += f"goal also {READ_RATE:,} images/s"
    row = compare(
        "cache_random_batches",
        f"HF datasets, with_format({best.removeprefix('HF ')!r}, dtype uint8)",
        seconds["ours"],
        seconds[best],
        unit="images/s",
        goal=READ_GOAL,
        limit=("index_select in a tensor in memory", seconds["RAM"]),
        at_most=1 / READ_RATE,
        note=note,
    )
    row["limit"]["share_of_copy_bandwidth"] = 2 * BYTES / statistics.median(seconds["ours"]) / copy_bandwidth()
    by_hand = "HF datasets, with_format('arrow'), buffers converted to a tensor by hand"
    note = "for information: what custom code on Arrow's buffers can reach"
    terms: dict[str, Any] = {"unit": "images/s", "goal": None, "note": note}
    return [row, compare("cache_random_batches_arrow", by_hand, seconds["ours"], seconds["HF arrow"], **terms)]


def random_rows(num_images: int, batch: int, num_batches: int) -> list[list[int]]:
    return torch.randint(num_images, (num_batches, batch), generator=torch.Generator().manual_seed(0)).tolist()


def reading(reader: Reader, rows: list[list[int]]) -> Side:
    return seconds_each(lambda: drain(map(reader, rows)), len(rows) * len(rows[0]))


def whole_pass(reader: Reader, num_images: int) -> None:
    """Reads every row once: brings files into the page cache, and fetches and checks the shards of a server."""
    drain(reader(list(range(start, min(start + 4096, num_images)))) for start in range(0, num_images, 4096))


def reader_of(cache: SampleCache) -> Reader:
    return lambda rows: cache.__getitems__(rows)["image"]


def all_readers(data: Tensor, folder: Path) -> dict[str, Reader]:
    """Returns one reader of the same images per interface."""
    arrow = arrow_dataset(data, folder)
    as_numpy = arrow.with_format("numpy", dtype=np.uint8)
    as_torch = arrow.with_format("torch", dtype=torch.uint8)
    as_arrow = arrow.with_format("arrow")
    return {
        "ours": reader_of(write_cache(data, folder)),
        "HF numpy": lambda rows: torch.from_numpy(as_numpy[rows]["image"]).view(-1, *IMAGE),
        "HF torch": lambda rows: as_torch[rows]["image"].view(-1, *IMAGE),
        "HF arrow": lambda rows: from_arrow(as_arrow[rows]["image"]),
        "RAM": lambda rows: data.index_select(0, torch.tensor(rows)),
    }


def from_arrow(column: Any) -> Tensor:
    """Converts a chunked column to (rows, 3, 32, 32) uint8."""
    pixels = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return torch.frombuffer(bytearray(pixels), dtype=torch.uint8).view(-1, *IMAGE)


def run_remote(rounds: int, num_images: int = 100_000, batch: int = 256, num_batches: int = 200) -> list[Row]:
    """Times random batches of a cache on an S3 server, its shards already fetched, against the same cache on disk."""
    data, rows = images(num_images), random_rows(num_images, batch, num_batches)
    with TemporaryDirectory() as name, server(Path(name)) as url:
        for place in ("here", "to-upload"):
            write_cache(data, Path(name) / place, shard_bytes=SHARD_MB * 2**20)
        upload(Path(name) / "to-upload/cache", url)
        there, here = (reader_of(SampleCache(place)) for place in (url, Path(name) / "here/cache"))
        started = perf_counter()
        whole_pass(there, num_images)
        fetched = num_images * BYTES / (perf_counter() - started) / 1e6
        whole_pass(here, num_images)
        cold = f"the first pass fetches and checks {fetched:.0f} MB/s, limited mostly by the Python server"
        note = f"{num_images:,} uint8 images of 3×32×32 in shards of {SHARD_MB} MB, {batch} per batch; {cold}"
        terms: dict[str, Any] = {"unit": "images/s", "goal": REMOTE_GOAL, "note": note}
        sides = reading(there, rows), reading(here, rows)
        return [race("cache_remote_warm", "the same cache in a folder", *sides, rounds, **terms)]


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Runs moto's S3 server on the loopback while the block lasts, and yields the URL for a cache there."""
    import s3fs
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it logs every request
    running = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    own = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "XDG_CACHE_HOME": str(folder / "home"),
    }
    try:
        with patch.dict(os.environ, own):
            s3fs.S3FileSystem().mkdir("bucket")
            yield "s3://bucket/mine"
    finally:
        running.stop()


class Images(Dataset[Tensor]):
    """Images in memory, transformed one at a time."""

    def __init__(self, data: Tensor, transform: nn.Module) -> None:
        self.data, self.transform = data, transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> Tensor:
        return self.transform(self.data[row])


def run_loader(rounds: int, num_images: int = 50_000, batch: int = 256, peer_images: int = 7_680) -> list[Row]:
    """Times normalised batches with a random crop and flip per sample.

    Ours come from one process; torchvision's recipe has 0 or 2 worker processes, whichever is faster.
    """
    data = images(num_images)
    with TemporaryDirectory() as folder:
        loader = our_loader(data, Path(folder), batch)
        peers = {
            name: seconds_each(lambda p=peer: drain(p), peer_images)  # type: ignore[misc]
            for name, peer in peer_loaders(data, batch, peer_images).items()
        }
        best = fastest(peers)
        ours = seconds_each(lambda: drain(normalised(loader)), num_images // batch * batch)
        return [
            race(
                "loader_crop_flip_normalise",
                f"DataLoader + torchvision v2, {best}",
                ours,
                peers[best],
                rounds,
                unit="images/s",
                goal=LOADER_GOAL,
                # unavoidable: every image is read as uint8 and written as float32
                limit=(
                    "a copy in memory: 3,072 bytes read and 12,288 written per image",
                    5 * BYTES / copy_bandwidth(),
                ),
                note=f"{num_images:,} uint8 images of 3×32×32, {batch} per batch; ours from a cache on disk, the "
                "peer's from memory",
            )
        ]


def our_loader(data: Tensor, folder: Path, batch: int) -> DataLoader[dict[str, Tensor]]:
    """Loads mixed batches as training does: half of the images count as real, half as generated."""
    sides = [everything(write_cache(half, folder / str(i))) for i, half in enumerate(data.chunk(2))]
    batches = MixedBatches(len(sides[0]), len(sides[1]), batch_size=batch, mixing="balanced", seed=0)
    return batch_loader(MixedRows(sides, ["image"], "crop_flip"), batches)


def normalised(loader: DataLoader[dict[str, Tensor]]) -> Iterator[Tensor]:
    """Yields batches standardised as `RatioClassifier` does it."""
    mean, std = (torch.full((3, 1, 1), value) for value in (MEAN, STD))
    for batch in loader:
        yield standardise(batch["image"], mean, std)


def peer_loaders(data: Tensor, batch: int, num_samples: int) -> dict[str, DataLoader[Tensor]]:
    """Returns loaders by the usual recipe, which transforms one sample at a time, by number of worker processes."""
    transform = v2.Compose(
        [
            v2.RandomCrop(IMAGE[1:], padding=PADDING),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32),
            v2.Normalize([MEAN] * 3, [STD] * 3, inplace=True),
        ]
    )
    rows = Images(data, transform)
    sampler = RandomSampler(rows, num_samples=num_samples)
    return {
        f"{n} workers": DataLoader(rows, batch, sampler=sampler, num_workers=n, persistent_workers=n > 0)
        for n in (0, 2)
    }
