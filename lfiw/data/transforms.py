"""Augmentation of whole batches (n, c, h, w), with random parameters per sample.

Parameters are drawn separately from applying them: processes that share a batch draw the same ones, and each applies
them to its part. They are drawn on the CPU, wherever the images lie: the draws are the same on every device.
"""

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor
from torch.nn import functional as F

from lfiw.data.table import to_device


def draw_offsets(num: int, padding: int, generator: torch.Generator) -> Int64[Tensor, "num 2"]:
    """Draws offsets (row, column) of random crops, uniform in 0 … 2·padding."""
    return torch.randint(2 * padding + 1, (num, 2), generator=generator)


def draw_flips(num: int, generator: torch.Generator) -> Bool[Tensor, " num"]:
    """Draws whether each sample is mirrored, with probability ½."""
    return torch.rand(num, generator=generator) < 0.5


def crop(images: Shaped[Tensor, "n c h w"], offsets: Int64[Tensor, "n 2"], padding: int) -> Shaped[Tensor, "n c h w"]:
    """Pads with zeros on every side and takes the window of the original size at each sample's offset."""
    n, c, h, w = images.shape
    if not n:
        return images
    padded = F.pad(images, (padding,) * 4)
    height, width = padded.shape[2:]
    # a row of a window is a run of pixels in memory: copying runs is several times faster than gathering pixels
    runs = padded.flatten().unfold(0, w, 1)  # every run of w pixels, a view
    corners = torch.arange(n) * (c * height * width) + offsets[:, 0] * width + offsets[:, 1]
    rows = (torch.arange(c)[:, None] * height + torch.arange(h)) * width
    corners, rows = to_device(corners, images.device), to_device(rows.flatten(), images.device)
    return runs.index_select(0, (corners[:, None] + rows).flatten()).view(n, c, h, w)


def flip(images: Shaped[Tensor, "n c h w"], mirrored: Bool[Tensor, " n"]) -> Shaped[Tensor, "n c h w"]:
    """Mirrors the chosen samples left to right."""
    both = torch.cat([images, images.flip(3)])  # choosing among whole samples costs less than torch.where over pixels
    return both.index_select(0, to_device(torch.arange(len(images)) + len(images) * mirrored, images.device))


def crop_and_flip(
    images: Shaped[Tensor, "n c h w"], seed: int, *, share: tuple[int, int] = (0, 1), size: int | None = None
) -> Shaped[Tensor, "n c h w"]:
    """Crops at random after padding by an eighth of the height, and mirrors at random: CIFAR-10's usual augmentation.

    Args:
        images: every share[1]-th of `size` samples from share[0] on.
        seed: the same seed gives the whole batch the same parameters, however processes share it.
    """
    generator = torch.Generator().manual_seed(seed)
    size = len(images) if size is None else size
    start, step = share
    offsets = draw_offsets(size, padding_of(images), generator)[start::step]
    mirrored = draw_flips(size, generator)[start::step]
    return flip(crop(images, offsets, padding_of(images)), mirrored)


def padding_of(images: Shaped[Tensor, "n c h w"]) -> int:
    return max(1, images.shape[2] // 8)


def crop_only(
    images: Shaped[Tensor, "n c h w"], seed: int, *, share: tuple[int, int] = (0, 1), size: int | None = None
) -> Shaped[Tensor, "n c h w"]:
    """Only crops, for images that mean something else when mirrored, such as digits. Arguments as above."""
    size = len(images) if size is None else size
    start, step = share
    offsets = draw_offsets(size, padding_of(images), torch.Generator().manual_seed(seed))[start::step]
    return crop(images, offsets, padding_of(images))


def flip_only(
    images: Shaped[Tensor, "n c h w"], seed: int, *, share: tuple[int, int] = (0, 1), size: int | None = None
) -> Shaped[Tensor, "n c h w"]:
    """Only mirrors, for generators, which would learn the black borders of crops. Arguments as above."""
    size = len(images) if size is None else size
    start, step = share
    return flip(images, draw_flips(size, torch.Generator().manual_seed(seed))[start::step])


def draw_affine(num: int, generator: torch.Generator) -> Float[Tensor, "num 2 3"]:
    """Draws maps from coordinates in the new image to those in the old one, both in −1 … 1.

    They turn by up to 10°, shear by up to 0.15, scale by 0.9 … 1.1 per axis, and move by up to 1/14 of a side.
    """
    uniform = 2 * torch.rand(num, 6, generator=generator) - 1
    angle, shear = uniform[:, 0] * (torch.pi / 18), 0.15 * uniform[:, 1]
    across, down = 1 + 0.1 * uniform[:, 2], 1 + 0.1 * uniform[:, 3]
    cos, sin = angle.cos(), angle.sin()
    first = torch.stack([across * cos, across * (shear * cos - sin), uniform[:, 4] / 7], dim=1)
    second = torch.stack([down * sin, down * (shear * sin + cos), uniform[:, 5] / 7], dim=1)
    return torch.stack([first, second], dim=1)


def affine(
    images: Shaped[Tensor, "n c h w"], seed: int, *, share: tuple[int, int] = (0, 1), size: int | None = None
) -> Shaped[Tensor, "n c h w"]:
    """Applies small random affine maps, as in handwriting, padding with zeros. Arguments as for `crop_and_flip`."""
    if not len(images):
        return images
    start, step = share
    maps = draw_affine(len(images) if size is None else size, torch.Generator().manual_seed(seed))[start::step]
    grid = F.affine_grid(to_device(maps, images.device), list(images.shape), align_corners=False)
    moved = F.grid_sample(images.float(), grid, align_corners=False)
    return moved.round().to(images.dtype) if not images.is_floating_point() else moved.to(images.dtype)


def standardise(samples: Shaped[Tensor, "n ..."], mean: Tensor, std: Tensor) -> Float[Tensor, "n ..."]:
    """Computes (x − mean)/std in the dtype of mean and std, which broadcast against the samples."""
    # in place on one new tensor: allocating memory for a batch takes longer than filling it
    values = samples.to(mean.dtype, copy=True)
    if mean.dtype == torch.float64:  # the data may lie far from zero, where scaling first would round more
        return values.sub_(mean).mul_(1 / std)
    return values.mul_(1 / std).sub_(mean / std)


AUGMENTATIONS = {"none": None, "crop": crop_only, "crop_flip": crop_and_flip, "flip": flip_only, "affine": affine}
