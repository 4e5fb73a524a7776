"""What a feature extractor is, and a network over blocks of a batch."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """`work` of each item, without gradients, as many at once as torch has threads.

    Threads that each do their own work wait for one another once, not in every operation, which matters most where
    other processes want the cores too. What is found does not depend on the number of threads.
    """

    def alone(item: Item) -> Result:
        with torch.inference_mode():  # a state of each thread
            return work(item)

    threads = min(torch.get_num_threads(), len(items))
    if threads <= 1:
        return [alone(item) for item in items]
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(alone, items))
    finally:
        torch.set_num_threads(before)  # of threads to come; this one's number did not change


class Extractor(nn.Module):
    """Images to features, and to class logits where it has a head.

    `forward` takes images as they stand in the tables (uint8 (n, c, h, w)) and returns `features` (n, num_features)
    and, if num_classes is not none, `logits` (n, num_classes), float32.

    Attributes:
        name: as in the configuration.
        sha256: of the weights; empty if it has none.
        preprocessing: in words, kept with the columns.
        num_features, num_classes: sizes of the outputs.
        batch_size: most samples per step, where the network is slow. If None, as many as the data module's.
    """

    name: str
    sha256: str = ""
    preprocessing: str = ""
    num_features: int
    num_classes: int | None = None
    batch_size: int | None = None

    @property
    def key(self) -> str:
        """Name in column names; other weights are other columns."""
        return f"{self.name}-{self.sha256[:8]}" if self.sha256 else self.name

    @property
    def columns(self) -> dict[str, str]:
        """Output → the column that keeps it."""
        kept = {"features": f"features/{self.key}"}
        return {**kept, "logits": f"logits/{self.key}"} if self.num_classes else kept

    @property
    def stamp(self) -> dict[str, str]:
        """What the columns say about their origin."""
        return {"name": self.name, "sha256": self.sha256, "preprocessing": self.preprocessing}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError


def over_blocks(work: Callable[[Tensor], Tensor], batch: Tensor, size: int) -> Tensor:
    """`work` of the batch, put together from blocks of `size` rows where it lies on a CPU.

    Small blocks stay in its caches.

    Args:
        work: rows → rows, each by itself; no gradients are kept.
    """
    if batch.device.type != "cpu":
        return work(batch)
    return torch.cat(in_threads(work, batch.split(size)))


def resize_like_tensorflow(images: Float[Tensor, "n c h w"], size: int) -> Float[Tensor, "n c size size"]:
    """Bilinear resize to size × size as TensorFlow 1 does it: corners not aligned, pixel centres not shifted, no
    antialiasing.

    Output pixel i interpolates between input pixels ⌊i·h/size⌋ and the next one. This is not what torch, PIL or OpenCV
    do under any setting, and scores differ by it (Parmar et al. 2022, "On Aliased Resizing and Surprising Subtleties in
    GAN Evaluation"). The order of operations is TensorFlow's, so that results are equal to the last bit on a CPU.
    """
    rows, columns = (_taps(length, size, images.device) for length in images.shape[2:])
    wide = _interpolate(images, 3, *columns)  # before the rows multiply: the same values, h/size of the work
    low, high, share = rows
    return _interpolate(wide, 2, low, high, share[:, None])


def _taps(length: int, size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each output pixel: the two input pixels, and the share of the second."""
    position = torch.arange(size, dtype=torch.float32, device=device) * torch.tensor(length / size, dtype=torch.float32)
    low = position.long()
    return low, (low + 1).clamp_max(length - 1), position - low.float()


def _interpolate(images: Tensor, dim: int, low: Tensor, high: Tensor, share: Tensor) -> Tensor:
    first = images.index_select(dim, low)
    return images.index_select(dim, high).sub_(first).mul_(share).add_(first)


class Pixels(Extractor):
    """Flattened samples: uint8 in 0 … 255 scaled to [0, 1], floating-point values as they are."""

    name = "pixels"
    preprocessing = "flattened; uint8 divided by 255"

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.num_features = math.prod(shape)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        flat = images.flatten(1)
        if images.dtype == torch.uint8:
            return {"features": flat.float() / 255}
        return {"features": flat.to(torch.promote_types(flat.dtype, torch.float32))}
