"""Random batches of a cache on an S3 server, once its shards are here, against the same cache in a folder."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import torch

from lfiw.data import CacheWriter, SampleCache
from lfiw.data.cache.remote import upload

from .cache_random_batches import BYTES, SHAPE, reading
from .measure import Row, compare, drain, interleave

GOAL = 0.8
SHARD_MB = 64


def run(rounds: int, num_images: int = 100_000, batch: int = 256, num_batches: int = 200) -> list[Row]:
    """A server of moto on the loopback; the folder of fetched shards is a temporary one."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (num_images, *SHAPE), dtype=torch.uint8, generator=generator)
    rows = torch.randint(num_images, (num_batches, batch), generator=generator).tolist()
    with TemporaryDirectory() as name, server(Path(name)) as url:
        folders = [Path(name) / place for place in ("here", "to-upload")]
        for folder in folders:
            with CacheWriter(folder, shard_bytes=SHARD_MB * 2**20) as writer:
                writer.write({"image": images})
        upload(folders[1], url)
        there, here = SampleCache(url), SampleCache(folders[0])
        started = perf_counter()
        whole_pass(there)  # every shard is fetched and checked
        fetched = num_images * BYTES / (perf_counter() - started) / 1e6
        whole_pass(here)  # every page of the files into memory
        sides = {
            "ours": reading(lambda rows: there.__getitems__(rows)["image"], rows),
            "peer": reading(lambda rows: here.__getitems__(rows)["image"], rows),
        }
        seconds = interleave(sides, rounds)
    cold = f"the first pass fetches and checks {fetched:.0f} MB/s, most of it the time of a server in Python"
    return [
        compare(
            "cache_remote_warm",
            "the same cache in a folder",
            seconds["ours"],
            seconds["peer"],
            unit="images/s",
            goal=GOAL,
            note=f"{num_images:,} uint8 images of 3×32×32 in shards of {SHARD_MB} MB, {batch} a batch; {cold}",
        )
    ]


def whole_pass(cache: SampleCache) -> None:
    drain(cache[start : start + 4096]["image"].sum() for start in range(0, len(cache), 4096))


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """The URL for a cache on a server that lives as long as the block."""
    import s3fs
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request
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
    before = dict(os.environ)
    os.environ.update(own)
    try:
        s3fs.S3FileSystem().mkdir("bucket")
        yield "s3://bucket/mine"
    finally:
        os.environ.clear()
        os.environ.update(before)
        running.stop()
