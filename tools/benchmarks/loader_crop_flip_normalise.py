"""Training batches with a random crop and flip for each sample, normalised: our loader against torchvision's recipe."""

import statistics
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision.transforms import v2

from lfiw.data import CacheWriter, SampleCache
from lfiw.data.batches import MixedBatches
from lfiw.data.loading import batch_loader
from lfiw.data.mixed import MixedRows
from lfiw.data.splits import everything
from lfiw.data.transforms import standardise

from .measure import Row, Side, compare, copy_bandwidth, drain, fastest, interleave, seconds_each

SHAPE = (3, 32, 32)
PADDING = 4
MEAN, STD = 127.5, 64.0  # of the raw values, the same for each channel
GOAL = 14.0
TRAFFIC = 3 * 32 * 32 * (1 + 4)  # bytes an image that no route avoids: read as uint8, written as float32


class Images(Dataset[Tensor]):
    """One image at a time, in memory."""

    def __init__(self, images: Tensor, transform: nn.Module) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Tensor:
        return self.transform(self.images[row])


def run(rounds: int, num_images: int = 50_000, batch: int = 256, peer_images: int = 7_680) -> list[Row]:
    """One process for ours; torchvision's at its best of 0 and 2 worker processes."""
    images = torch.randint(256, (num_images, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole_batches = num_images // batch * batch
    with TemporaryDirectory() as folder:
        loader = our_loader(images, Path(folder), batch)
        peers = {
            name: seconds_each(lambda p=peer: drain(p), peer_images)  # type: ignore[misc]
            for name, peer in peer_loaders(images, batch, peer_images).items()
        }
        best = fastest(peers)
        ours: Side = seconds_each(lambda: drain(normalised(loader)), whole_batches)
        seconds = interleave({"ours": ours, "peer": peers[best]}, rounds)
    limit = {
        "what": "a copy in memory of 3,072 bytes read and 12,288 written an image",
        "share": TRAFFIC / statistics.median(seconds["ours"]) / copy_bandwidth(),
    }
    note = f"{num_images:,} uint8 images of 3×32×32, {batch} a batch; ours from a cache on disk, the peer's in memory"
    peer_name = f"DataLoader + torchvision v2, {best}"
    return [
        compare(
            "loader_crop_flip_normalise",
            peer_name,
            seconds["ours"],
            seconds["peer"],
            unit="images/s",
            goal=GOAL,
            limit=limit,
            note=note,
        )
    ]


def our_loader(images: Tensor, folder: Path, batch: int) -> DataLoader[dict[str, Tensor]]:
    """Half of the images real, half generated, as in training."""
    sides = []
    for name, half in zip(("real", "generated"), images.chunk(2), strict=True):
        with CacheWriter(folder / name) as writer:
            writer.write({"image": half})
        sides.append(everything(SampleCache(folder / name)))
    batches = MixedBatches(len(sides[0]), len(sides[1]), batch_size=batch, mixing="balanced", seed=0)
    return batch_loader(MixedRows(sides, ["image"], "crop_flip"), batches)


def normalised(loader: DataLoader[dict[str, Tensor]]) -> Iterator[Tensor]:
    """Batches as `RatioClassifier` standardises them."""
    mean, std = (torch.full((3, 1, 1), value) for value in (MEAN, STD))
    for batch in loader:
        yield standardise(batch["image"], mean, std)


def peer_loaders(images: Tensor, batch: int, num_samples: int) -> dict[str, DataLoader[Tensor]]:
    """The usual recipe, all transforms a sample, by number of worker processes."""
    transform = v2.Compose(
        [
            v2.RandomCrop(SHAPE[1:], padding=PADDING),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32),
            v2.Normalize([MEAN] * 3, [STD] * 3, inplace=True),
        ]
    )
    data = Images(images, transform)
    return {
        f"{workers} workers": DataLoader(
            data,
            batch,
            sampler=RandomSampler(data, num_samples=num_samples),
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        for workers in (0, 2)
    }
