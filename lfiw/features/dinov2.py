"""DINOv2's features, self-supervised and rated nearer to people's judgement of samples than Inception's."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lfiw.errors import InputError, first_line
from lfiw.features.extractor import Extractor, over_blocks
from lfiw.features.resnet import MEAN, STD
from lfiw.untrusted import read_checkpoint

SIZE, PATCH = 224, 14
MODELS = {384: "small", 768: "base", 1024: "large", 1536: "giant"}  # by the width of a token
CPU_IMAGES = 4  # images at a time on a CPU


class DINOv2(Extractor):
    """The class token of a DINOv2 vision transformer (Oquab et al. 2024), after the last norm.

    Images are resized to 224×224 bicubically, rounded to bytes as an image library does it, and standardised by
    ImageNet's mean and scale: the input of the FD-DINOv2 of Stein et al. 2023, who use the large model. One channel is
    repeated to three.

    Args:
        shape: (channels, height, width) of the images.
        weights: a state dict of github.com/facebookresearch/dinov2, such as dinov2_vitl14_pretrain.pth; the size of the
            model is found in it. Those with registers are other networks.

    Raises:
        InputError: images of another kind, no file, one that does not hold such weights, or timm is not installed.
    """

    name = "dinov2"
    preprocessing = f"bicubic resize to {SIZE}, bytes/255, standardised by ImageNet's mean and scale"
    batch_size = 128
    mean: Tensor
    std: Tensor

    def __init__(self, shape: Sequence[int], weights: str | os.PathLike[str] | None) -> None:
        super().__init__()
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise InputError(f"extractor dinov2 takes images (1 or 3, h, w), got samples of shape {tuple(shape)}")
        if weights is None:
            raise InputError("extractor dinov2: set features.dinov2_weights, as dinov2_vitl14_pretrain.pth")
        state = read_checkpoint(weights, "cpu")
        try:
            self.net = build(state)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"{weights} does not hold a DINOv2 without registers: {first_line(error)}") from None
        digest = hashlib.sha256()
        for name, value in sorted(state.items()):  # of the tensors: the same weights in another file are the same
            digest.update(name.encode() + value.contiguous().numpy().tobytes())
        self.sha256 = digest.hexdigest()
        self.num_features = state["cls_token"].shape[-1]
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1))
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        if images.dtype != torch.uint8:
            raise InputError(f"extractor dinov2 takes uint8 images in 0 … 255, got {images.dtype}")
        return {"features": over_blocks(self._features, images, CPU_IMAGES)}

    def _features(self, images: Tensor) -> Tensor:
        x = images.expand(-1, 3, -1, -1).float()
        # antialias: the kernel of image libraries (a = −0.5); it changes nothing else where images grow
        x = F.interpolate(x, (SIZE, SIZE), mode="bicubic", antialias=True).clamp_(0, 255).round_()
        features: Tensor = self.net((x / 255 - self.mean) / self.std)
        return features


def build(state: Mapping[str, Any]) -> nn.Module:
    """timm's network with these weights, its positions brought to a grid of 16×16 patches.

    Raises:
        InputError: timm is not installed.
        KeyError, RuntimeError, …: these are other weights.
    """
    width = state["cls_token"].shape[-1]
    if width not in MODELS:
        raise ValueError(f"tokens of {width} numbers, expected one of {', '.join(map(str, MODELS))}")
    try:
        from timm import create_model
        from timm.models.vision_transformer import checkpoint_filter_fn
    except ImportError:
        raise InputError("extractor dinov2 needs timm: pip install 'lfiw[dinov2]'") from None
    name = f"vit_{MODELS[width]}_patch14_dinov2"
    net: Any = create_model(name, pretrained=False, num_classes=0, img_size=SIZE)
    own = {**state, "pos_embed": interpolated(state["pos_embed"], SIZE // PATCH)}
    net.load_state_dict(checkpoint_filter_fn(own, net))
    built: nn.Module = net
    return built


def interpolated(positions: Tensor, size: int) -> Tensor:
    """Position embeddings (1, 1 + m·m, d) for another grid → (1, 1 + size·size, d), as DINOv2's own code has them:

    bicubic without antialiasing, with a scale that is a tenth of a patch too large.
    """
    of_class, of_patches = positions[:, :1], positions[:, 1:]
    old = round(of_patches.shape[1] ** 0.5)
    if old == size:
        return positions
    grid = of_patches.reshape(1, old, old, -1).permute(0, 3, 1, 2)
    scale = (size + 0.1) / old
    grid = F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
    return torch.cat([of_class, grid.flatten(2).transpose(1, 2)], dim=1)
