"""A CIFAR-10 classifier for the Inception Score, class proportions, and features that owe nothing to ImageNet."""

import hashlib
import os
from collections.abc import Sequence

import torch
from torch import Tensor

from lfiw.errors import InputError
from lfiw.features.blocks import over_blocks
from lfiw.features.extractor import Extractor
from lfiw.nets.cifar_resnet import MEAN, NUM_FEATURES, STD, CifarResNet, load_weights

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
