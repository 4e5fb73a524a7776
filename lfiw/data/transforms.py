"""Augmentation of whole batches (n, c, h, w), each sample with its own random parameters.

Drawing the parameters is apart from applying them: several processes can draw the same ones for a batch that they share
and each apply its own part.
"""

import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor
from torch.nn import functional as F


def draw_offsets(num: int, padding: int, generator: torch.Generator) -> Int64[Tensor, "num 2"]:
    """Offsets (row, column) of random crops, uniform in 0 … 2·padding."""
    return torch.randint(2 * padding + 1, (num, 2), generator=generator)


def draw_flips(num: int, generator: torch.Generator) -> Bool[Tensor, " num"]:
    """Whether each sample is mirrored: a fair coin."""
    return torch.rand(num, generator=generator) < 0.5


def crop(images: Shaped[Tensor, "n c h w"], offsets: Int64[Tensor, "n 2"], padding: int) -> Shaped[Tensor, "n c h w"]:
    """Pad with zeros on every side and take the window of the original size at each sample's offset."""
    n, _, h, w = images.shape
    padded = F.pad(images, (padding,) * 4)
    windows = padded.unfold(2, h, 1).unfold(3, w, 1)  # (n, c, 2p+1, 2p+1, h, w), a view
    return windows[torch.arange(n), :, offsets[:, 0], offsets[:, 1]]


def flip(images: Shaped[Tensor, "n c h w"], mirrored: Bool[Tensor, " n"]) -> Shaped[Tensor, "n c h w"]:
    """Mirror the chosen samples left to right."""
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def crop_and_flip(
    images: Shaped[Tensor, "n c h w"], seed: int, *, share: tuple[int, int] = (0, 1), size: int | None = None
) -> Shaped[Tensor, "n c h w"]:
    """Random crop after padding by an eighth of the height, and random mirroring: the usual CIFAR-10 augmentation.

    Args:
        images: every share[1]-th of `size` samples from share[0] on.
        seed: the same seed gives the whole batch the same parameters however it is shared.
    """
    padding = max(1, images.shape[2] // 8)
    generator = torch.Generator().manual_seed(seed)
    size = len(images) if size is None else size
    start, step = share
    offsets = draw_offsets(size, padding, generator)[start::step]
    mirrored = draw_flips(size, generator)[start::step]
    return flip(crop(images, offsets, padding), mirrored)


AUGMENTATIONS = {"none": None, "crop_flip": crop_and_flip}
