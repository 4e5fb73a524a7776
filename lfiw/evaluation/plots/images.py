"""Grids of images."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F
from torchvision.utils import make_grid

from lfiw.evaluation.plots.style import INK, new_figure

SMALL = 32  # pixels: up to this side, 64 images are shown as they are
REDUCED = 48  # pixels: larger ones are shown 36 at a time, at most so wide


def images_a_grid(side: int) -> int:
    """How many images of that height or width a grid holds."""
    return 64 if side <= SMALL else 36


def image_grid(images: Shaped[Tensor, "n c h w"]) -> UInt8[np.ndarray, "height width 3"]:
    """A square grid, one white pixel between the images: 64 of up to 32 pixels, or 36 reduced to 48.

    Args:
        images: uint8, or floats in [0, 1]; 1 or 3 channels, or any other number, of which the mean is shown. What does
            not fit in the grid is left out.
    """
    room = images_a_grid(max(images.shape[-2:]))
    pixels = as_pixels(images[:room])
    if max(pixels.shape[-2:]) > SMALL:
        factor = min(1.0, REDUCED / max(pixels.shape[-2:]))
        size = [max(1, round(factor * side)) for side in pixels.shape[-2:]]
        pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True)
    grid = make_grid(pixels.clamp(0, 1), nrow=math.isqrt(room), padding=1, pad_value=1.0)
    return (255 * grid.permute(1, 2, 0)).round().to(torch.uint8).numpy()


def as_pixels(images: Shaped[Tensor, "n c h w"]) -> Float[Tensor, "n _ h w"]:
    """Floats in [0, 1] with 1 or 3 channels."""
    pixels = images.float() / (255 if images.dtype == torch.uint8 else 1)
    return pixels if pixels.shape[1] in (1, 3) else pixels.mean(dim=1, keepdim=True)


def contact_sheet(groups: Mapping[str, Shaped[Tensor, "_ c h w"]], columns: int = 3) -> Figure:
    """Grids of images (`image_grid`) under their titles, so many side by side."""
    columns = min(columns, len(groups))
    rows = math.ceil(len(groups) / columns)
    figure = new_figure(3.2 * columns, 3.5 * rows)
    panels = list(np.array(figure.subplots(rows, columns, squeeze=False)).flat)
    for axes in panels:
        axes.set_axis_off()
    for axes, (title, images) in zip(panels, groups.items(), strict=False):
        axes.imshow(image_grid(images), interpolation="nearest")
        axes.set_title(title, fontsize=10, color=INK)
    return figure
