"""The raw values as features."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lfiw.features.extractor import Extractor


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
