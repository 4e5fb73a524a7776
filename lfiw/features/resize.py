"""The resize that Inception scores are defined with."""

import torch
from jaxtyping import Float
from torch import Tensor


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
