"""A classifier of the data's own classes: penultimate layer as features, and logits. Kept as one safetensors file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lfiw.data.cache.shards import hash_file
from lfiw.features.extractor import Extractor
from lfiw.files import write_atomically
from lfiw.nets import build_net
from lfiw.untrusted import built_for, naming, network_file, read_network


class Classifier(Extractor):
    """A network of the registry with its weights and its input's mean and scale, from `save_classifier`.

    Raises:
        InputError: the file cannot be read or does not hold a classifier.
    """

    name = "classifier"
    mean: Tensor
    std: Tensor

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        with naming(path, "does not hold a classifier"):
            remedy = "no such file; features.classifier_weights names a classifier's weights"
            header, state = read_network(path, "lfiw", "a classifier", remedy=remedy)
            self.register_buffer("mean", state.pop("input.mean"))
            self.register_buffer("std", state.pop("input.std"))
            self.net = built_for(
                state, lambda: build_net(header["net"], header["shape"], outputs=header["num_classes"])
            )
            self.num_features, self.num_classes = int(header["num_features"]), int(header["num_classes"])
        self.sha256 = hash_file(Path(path))
        self.preprocessing = "standardised"

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.net.penultimate((images.float() - self.mean) / self.std)
        return {"features": features, "logits": self.net.last(features)}


def save_classifier(
    path: str | os.PathLike[str],
    net: nn.Module,
    options: Mapping[str, Any],
    *,
    shape: tuple[int, ...],
    mean: Tensor,
    std: Tensor,
    num_features: int,
    num_classes: int,
) -> None:
    """Writes a network of the registry as a `Classifier`.

    Args:
        net: built by `build_net(options, shape, outputs=num_classes)`.
        mean, std: of the raw input; they must broadcast against (n, *shape).
    """
    header = {"net": dict(options), "shape": shape, "num_features": num_features, "num_classes": num_classes}
    scale = {"input.mean": torch.as_tensor(mean).float(), "input.std": torch.as_tensor(std).float()}
    write_atomically(path, network_file("lfiw", header, {**net.state_dict(), **scale}))
