"""ResNets for CIFAR-10 (He et al. 2016), and the features of a trained ResNet-56."""

import hashlib
import os
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from lfiw.errors import InputError, first_line
from lfiw.features.extractor import Extractor, over_blocks
from lfiw.untrusted import read_checkpoint

NUM_FEATURES = 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # that the usual weights were trained with, of RGB/255


class BasicBlock(nn.Module):
    """Two 3×3 convolutions; the shortcut takes every second pixel and fills the new channels with zeros (option A)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride, self.added = outputs // inputs, outputs - inputs
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        half = self.added // 2
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.added - half))
        return F.relu(hidden + shortcut)


class CifarResNet(nn.Module):
    """Standardised 32×32 images to the penultimate layer (64 features); `linear` maps those to class logits.

    Args:
        blocks: n, residual blocks a stage: 3 for ResNet-20, 9 for ResNet-56.
    """

    def __init__(self, blocks: int, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = [16, 16, 32, NUM_FEATURES]
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(
                *(BasicBlock(widths[i] if block == 0 else widths[i + 1], widths[i + 1]) for block in range(blocks))
            )
            for i in range(3)
        )
        self.linear = nn.Linear(NUM_FEATURES, num_classes)

    def forward(self, x: Float[Tensor, "n 3 32 32"]) -> Float[Tensor, "n 64"]:
        x = F.relu(self.bn1(self.conv1(x.contiguous(memory_format=torch.channels_last))))
        return self.layer3(self.layer2(self.layer1(x))).mean(dim=(2, 3))


def load_weights(net: CifarResNet, file: str | os.PathLike[str], name: str) -> None:
    """Puts a state dict as github.com/akamaster/pytorch_resnet_cifar10 has them into a network.

    Args:
        file: the state dict bare or in a checkpoint's `state_dict`, with or without the prefix `module.`.
        name: of the network in messages.

    Raises:
        InputError: no such file, or it does not hold these weights.
    """
    raw = read_checkpoint(file, "cpu")
    raw = raw.get("state_dict", raw) if isinstance(raw, Mapping) else raw
    try:
        net.load_state_dict({name.removeprefix("module."): value for name, value in raw.items()})
    except (AttributeError, RuntimeError, TypeError) as error:
        raise InputError(f"{file} does not hold a {name} for CIFAR-10: {first_line(error)}") from None


BLOCKS = 9
CPU_IMAGES = 16  # images at a time on a CPU


class ResNet56(Extractor):
    """ResNet-56 (He et al. 2016): 64 features and the logits of CIFAR-10's classes.

    Args:
        shape: of the images; (3, 32, 32).
        weights: a state dict as github.com/akamaster/pytorch_resnet_cifar10 has them, bare or in a checkpoint's
            `state_dict`, with or without the prefix `module.`.

    Raises:
        InputError: images of another kind, no file, or one that does not hold these weights.
    """

    name = "resnet56"
    preprocessing = "RGB/255, standardised by ImageNet's mean and scale"
    mean: Tensor
    std: Tensor

    def __init__(self, shape: Sequence[int], weights: str | os.PathLike[str] | None) -> None:
        super().__init__()
        if tuple(shape) != (3, 32, 32):
            raise InputError(f"extractor resnet56 takes CIFAR-10's images (3, 32, 32), got {tuple(shape)}")
        if weights is None:
            raise InputError("extractor resnet56: set features.resnet56_weights to its weights")
        net = CifarResNet(BLOCKS)
        load_weights(net, weights, "ResNet-56")
        digest = hashlib.sha256()
        for name, value in net.state_dict().items():  # of the tensors: the same weights in another file are the same
            digest.update(name.encode() + value.contiguous().numpy().tobytes())
        self.sha256 = digest.hexdigest()
        self.net = net.to(memory_format=torch.channels_last)
        self.num_features, self.num_classes = NUM_FEATURES, net.linear.out_features
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1))
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = over_blocks(self._features, images, CPU_IMAGES)
        return {"features": features, "logits": self.net.linear(features)}

    def _features(self, images: Tensor) -> Tensor:
        return self.net((images.float() / 255 - self.mean) / self.std)
