"""A small residual network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lfiw.nets.net import Net
from lfiw.nets.shapes import image_shape


class Block(nn.Module):
    """Pre-activation residual block (He et al. 2016), halving the resolution at the first block of a stage."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(8, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.skip = nn.Identity() if inputs == outputs and stride == 1 else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x)))
        return self.skip(x) + self.conv2(F.silu(self.norm2(hidden)))


class ResNet(Net):
    """(n, c, h, w) → (n, outputs). Group norm: a sample's logit does not depend on the batch it comes in."""

    def __init__(
        self, shape: Sequence[int], *, width: int, blocks: int, stages: int, dropout: float, outputs: int = 1
    ) -> None:
        super().__init__()
        channels, _, _ = image_shape(shape, "resnet")
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1)]
        inputs = width
        for stage in range(stages):
            for block in range(blocks):
                layers.append(Block(inputs, width << stage, stride=2 if stage and not block else 1))
                inputs = width << stage
        layers += [nn.GroupNorm(8, inputs), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout)]
        self.blocks = nn.Sequential(*layers)
        self.last = nn.Linear(inputs, outputs)

    def penultimate(self, x: Tensor) -> Tensor:
        return self.blocks(x.contiguous(memory_format=torch.channels_last))
