"""Four convolutional blocks: the network that the method's ratio classifier for Omniglot is reported to follow."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lfiw.errors import InputError
from lfiw.nets.net import Net
from lfiw.nets.shapes import image_shape

NORMS = ("batch", "group")


class Conv4(Net):
    """(n, c, h, w) → (n, outputs): four times convolution, ReLU, norm, max-pooling; then one linear layer.

    Pooling stops where a side has become 1, so that 8×8 images pass as well as 105×105. With group norm what a sample
    gives does not depend on the batch it comes in, and so not on the number of processes either.
    """

    def __init__(
        self, shape: Sequence[int], *, width: int, dropout: float, norm: str = "batch", outputs: int = 1
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise InputError(f"model.norm={norm}: expected one of {', '.join(NORMS)}")
        channels, height, side = image_shape(shape, "conv4")
        blocks: list[nn.Module] = []
        for _ in range(4):
            blocks += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            blocks.append(nn.BatchNorm2d(width) if norm == "batch" else nn.GroupNorm(8, width))
            if min(height, side) > 1:
                blocks.append(nn.MaxPool2d(2))
                height, side = height // 2, side // 2
            blocks.append(nn.Dropout2d(dropout))
            channels = width
        self.blocks = nn.Sequential(*blocks, nn.Flatten())
        self.last = nn.Linear(width * height * side, outputs)

    def penultimate(self, x: Tensor) -> Tensor:
        return self.blocks(x.contiguous(memory_format=torch.channels_last))
