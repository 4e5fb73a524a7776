"""Histograms of oriented gradients: a judge of images that needs no weights and saw no data."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lfiw.errors import InputError
from lfiw.features.extractor import Extractor, over_blocks

CELLS, BINS = 4, 8
BLOCK = 256  # images at a time on a CPU


class OrientedGradients(Extractor):
    """Edges of images: in each of 4 × 4 cells the mean gradient magnitude in each of 8 signed directions.

    The descriptor of Dalal & Triggs (CVPR 2005) without their normalisation over blocks: central differences of the
    image in [0, 1], the mean over its channels. It sees shapes where pixels see brightness, and no network that a
    generator or a ratio was trained with has a part in it.

    Args:
        shape: of a sample, (channels, height, width), at least 4 × 4.

    Raises:
        InputError: samples that are no images of that size.
    """

    name = "hog"
    preprocessing = f"{CELLS} × {CELLS} cells, {BINS} directions"
    num_features = CELLS * CELLS * BINS

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        if len(shape) != 3 or min(shape[1:]) < CELLS:
            raise InputError(f"extractor hog: expected images (channels, height, width), found shape {tuple(shape)}")

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """uint8 in 0 … 255, or floating-point values in [0, 1]."""
        return {"features": over_blocks(histograms, images, BLOCK)}


def histograms(images: Tensor) -> Tensor:
    """(n, c, h, w) → (n, 128): direction by direction, the cells row by row."""
    grey = (images.float() / 255 if images.dtype == torch.uint8 else images.float()).mean(1, keepdim=True)
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    across = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2])[:, 0]
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1])[:, 0]
    magnitude = torch.hypot(across, down)
    turn = (torch.atan2(down, across) / (2 * math.pi) + 0.5) * BINS
    direction = turn.long().clamp(max=BINS - 1)
    votes = torch.stack([magnitude * (direction == k) for k in range(BINS)], dim=1)
    return F.adaptive_avg_pool2d(votes, CELLS).flatten(1)
