"""A critic on the features of a frozen classifier (Sauer et al. 2021, "Projected GANs converge faster").

The feature maps of three depths of a CIFAR-10 ResNet-20 are mixed by fixed random convolutions, across channels and
from coarse to fine, and each has a small head of its own; one more head sees the pixels.
"""

import os
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from lfiw.errors import InputError
from lfiw.nets.cifar_resnet import MEAN, STD, CifarResNet, load_weights

BLOCKS = 3  # ResNet-20
CHANNELS = (16, 32, 64)  # of the three depths, at 32, 16 and 8 pixels
MIXED = (32, 32, 64)  # after the random mixing


class ProjectedCritic(nn.Module):
    """(n, 3, 32, 32) in [−1, 1] → (n, outputs): all positions of all heads' maps, each of which has its hinge loss.

    Args:
        shape: of the images: (3, 32, 32).
        width: channels of the heads.
        features: a state dict of ResNet-20, as github.com/akamaster/pytorch_resnet_cifar10 has them; none: random
            features, which a checkpoint replaces by its own.

    Raises:
        InputError: images of another kind, or a file that does not hold these weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, shape: Sequence[int], *, width: int, features: str | os.PathLike[str] | None) -> None:
        super().__init__()
        if tuple(shape) != (3, 32, 32):
            raise InputError(f"model.critic=projected takes CIFAR-10's images (3, 32, 32), got {tuple(shape)}")
        self.net = CifarResNet(BLOCKS)
        if features is not None:
            load_weights(self.net, features, "ResNet-20")
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1))
        self.across = nn.ModuleList(nn.Conv2d(c, m, 1) for c, m in zip(CHANNELS, MIXED, strict=True))
        self.downward = nn.ModuleList(nn.Conv2d(MIXED[i + 1], MIXED[i], 3, padding=1) for i in range(2))
        for fixed in (self.net, self.across, self.downward):
            fixed.requires_grad_(False)
        self.heads = nn.ModuleList(head(m, width, halvings) for m, halvings in zip(MIXED, (3, 2, 1), strict=True))
        self.on_pixels = head(3, width, 3)

    def train(self, mode: bool = True) -> "ProjectedCritic":
        super().train(mode)
        self.net.eval()  # its batch norm keeps the statistics that it was trained with
        return self

    def forward(self, images: Float[Tensor, "n 3 32 32"]) -> Float[Tensor, "n outputs"]:
        x = ((images + 1) / 2 - self.mean) / self.std
        x = F.relu(self.net.bn1(self.net.conv1(x)))
        maps = []
        for layer, across in zip((self.net.layer1, self.net.layer2, self.net.layer3), self.across, strict=True):
            x = layer(x)
            maps.append(across(x))
        for i in (1, 0):
            coarse = F.interpolate(maps[i + 1], scale_factor=2, mode="bilinear")
            maps[i] = maps[i] + self.downward[i](coarse)
        outputs = [h(m) for h, m in zip(self.heads, maps, strict=True)]
        return torch.cat([o.flatten(1) for o in (*outputs, self.on_pixels(images))], dim=1)


def head(inputs: int, width: int, halvings: int) -> nn.Sequential:
    """4×4 convolutions of stride 2 with spectral norm, down to a map of 4×4 numbers."""
    layers: list[nn.Module] = []
    for _ in range(halvings):
        layers += [spectral_norm(nn.Conv2d(inputs, width, 4, 2, padding=1)), nn.LeakyReLU(0.2)]
        inputs = width
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(inputs, 1, 3, padding=1)))
