"""The features that the Fréchet Inception Distance is defined with."""

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from lfiw.errors import InputError
from lfiw.features.blocks import over_blocks
from lfiw.features.extractor import Extractor
from lfiw.features.inception_weights import find_weights
from lfiw.features.resize import resize_like_tensorflow
from lfiw.nets.inception import NUM_FEATURES, NUM_LOGITS, SIZE, Inception

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
CPU_IMAGES = 8  # images at a time on a CPU: activations that stay in its caches, a quarter faster than 32


class InceptionFeatures(Extractor):
    """Inception-v3 of 2015-12-05: pool3 features (2,048) and, where the weights have the head, 1,008 logits.

    Images are resized to 299×299 as TensorFlow 1 does it and mapped to (v − 128)/128. One channel is repeated to three.

    Args:
        shape: (channels, height, width) of the images.
        weights: file; none: from the places of `find_weights`.
        precision: "fp32" or "bf16", that of the convolutions; resizing and the last mean are float32 in both.

    Raises:
        InputError: images of another kind, an unknown precision, or no weights.
    """

    name = "inception"
    batch_size = 128

    def __init__(
        self, shape: Sequence[int], weights: str | os.PathLike[str] | None = None, precision: str = "fp32"
    ) -> None:
        super().__init__()
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise InputError(f"extractor inception takes images (1 or 3, h, w), got samples of shape {tuple(shape)}")
        if precision not in PRECISIONS:
            raise InputError(f"features.precision={precision}: expected one of {', '.join(PRECISIONS)}")
        found = find_weights(weights)
        self.precision, self.sha256 = precision, found.sha256
        self.preprocessing = f"TensorFlow 1 resize to {SIZE}, (v − 128)/128, {precision}"
        self.num_features, self.num_classes = NUM_FEATURES, NUM_LOGITS if found.has_logits else None
        self.net = Inception(found.has_logits)
        self.net.load_state_dict(found.tensors)
        self.net.to(dtype=PRECISIONS[precision], memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.net.fc is not None:
            self.net.fc.float()
        self.requires_grad_(False)

    @property
    def key(self) -> str:
        return f"{super().key}-{self.precision}"

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        if images.dtype != torch.uint8:
            raise InputError(f"extractor inception takes uint8 images in 0 … 255, got {images.dtype}")
        features = over_blocks(self._features, images, CPU_IMAGES)
        return (
            {"features": features} if self.net.fc is None else {"features": features, "logits": self.net.fc(features)}
        )

    def _features(self, images: Tensor) -> Tensor:
        x = resize_like_tensorflow(images.expand(-1, 3, -1, -1).float(), SIZE)
        x = x.sub_(128).div_(128).to(PRECISIONS[self.precision])
        return self.net(x.contiguous(memory_format=torch.channels_last))
