"""Images side by side, pixel for pixel."""

import math
from pathlib import Path

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from lfiw.files import replacing


def sample_grid(images: UInt8[Tensor, "n c h w"], file: Path, scale: int = 2) -> Path:
    """Writes all images in a square grid, each pixel `scale` × `scale` pixels of the picture."""
    columns = math.ceil(math.sqrt(len(images)))
    images = images if images.shape[1] in (1, 3) else images.float().mean(1, keepdim=True).to(torch.uint8)
    grid = make_grid(images, nrow=columns, padding=1, pad_value=255)
    pixels = grid.repeat_interleave(scale, 1).repeat_interleave(scale, 2).permute(1, 2, 0).contiguous().numpy()
    with replacing(file) as temporary:
        Image.fromarray(pixels).save(temporary)
    return file
