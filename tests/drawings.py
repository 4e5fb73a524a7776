"""Small drawings whose classes are known, and a generator of them that is wrong in a known way."""

from pathlib import Path

import torch
from torch import Tensor

from lfiw.data import CacheWriter, SampleCache
from lfiw.data.transforms import affine

SIDE = 16


def drawings(classes: int, each: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images (n, 1, 16, 16) and labels: each class two random bars, every drawing of it moved a little."""
    source = torch.Generator().manual_seed(seed)
    images = []
    for _ in range(classes):
        template = torch.zeros(1, SIDE, SIDE)
        for axis in range(2):
            place, start = torch.randint(3, SIDE - 4, (2,), generator=source).tolist()
            across, along = slice(place, place + 2), slice(start // 2, start // 2 + 8)
            template[(0, across, along) if axis else (0, along, across)] = 255
        images.append(template.to(torch.uint8).expand(each, -1, -1, -1))
    labels = torch.arange(classes).repeat_interleave(each)
    return affine(torch.cat(images), seed), labels


def write_real(path: Path, classes: int = 6, each: int = 9, seed: int = 0) -> SampleCache:
    images, labels = drawings(classes, each, seed)
    with CacheWriter(path, source={"dataset": "bars"}) as writer:
        writer.write({"image": images, "label": labels})
    return SampleCache(path)


def write_generated(path: Path, real: SampleCache, each: int = 4, **changed: Tensor) -> SampleCache:
    """Every second child is its parent moved a little, the others are empty with a dot: the data has no such."""
    parents = torch.arange(len(real)).repeat_interleave(each)
    images = affine(real["image"][parents], 1)
    images[1::2] = 0
    images[1::2, :, 8, 8] = 200
    columns = {"image": images, "label": real["label"][parents], "parent": parents, **changed}
    with CacheWriter(path, source={"generator": "bars", "given": real.identity}) as writer:
        writer.write(columns)
    return SampleCache(path)
