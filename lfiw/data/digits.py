"""scikit-learn's handwritten digits against a generator that is biased on purpose. Nothing is downloaded."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from sklearn.neural_network import MLPClassifier
from torch import Tensor

from lfiw.data.cache.reader import SampleCache
from lfiw.data.cache.writer import CacheWriter
from lfiw.data.importers.digits import import_digits
from lfiw.data.mixed import MixedDataModule
from lfiw.data.splits import split_rows
from lfiw.errors import InputError
from lfiw.features.classifier import save_classifier
from lfiw.kernel_density import sample_kernel_density
from lfiw.nets import build_net

LEVELS = 16  # the digits' grey levels are 0 … 16
SHAPE = (1, 8, 8)
WIDTH = 64
CLASSIFIER = {"name": "mlp", "width": WIDTH, "depth": 1, "dropout": 0.0, "activation": "relu", "spectral_norm": False}


class DigitsDataModule(MixedDataModule):
    """Real: 1,797 digits of 8×8 pixels. Generated: a kernel density estimate fitted to an imbalanced part of them.

    `prepare_data` writes, once for each choice of the options: the real digits, the generator's samples, and a
    classifier of the ten digits (for the Inception Score and the digit proportions). Generator and classifier see the
    real training rows alone.

    Args:
        folder: where the caches go.
        keep: for each digit the share of its training rows that the generator sees.
        bandwidth: of the kernel, in standard deviations.
        num_generated: samples to draw.
        options: of `MixedDataModule`.
    """

    def __init__(self, folder: str, *, keep: list[float], bandwidth: float, num_generated: int, **options: Any) -> None:
        super().__init__(None, None, **options)
        if len(keep) != 10 or not all(0 <= share <= 1 for share in keep) or not any(keep):
            raise InputError(f"data.keep={keep}: expected ten shares in [0, 1], not all zero")
        if not bandwidth > 0 or num_generated < 1:
            raise InputError(f"data.bandwidth={bandwidth} and data.num_generated={num_generated} must be positive")
        self.keep, self.bandwidth, self.num_generated = list(keep), bandwidth, num_generated
        recipe = [self.fractions, self.split_seed, self.keep, bandwidth, num_generated]
        key = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:8]
        self.real_path = Path(folder) / "digits-real"
        self.generated_path = Path(folder) / f"digits-generated-{key}"
        self.classifier_path = self.classifier_weights = Path(folder) / f"digits-classifier-{key}.safetensors"

    def prepare_data(self) -> None:
        digits = import_digits()
        (block,) = digits.blocks()
        images, labels = block["image"], block["label"]
        if not self.real_path.exists():
            with CacheWriter(self.real_path, source=digits.source) as writer:
                writer.write(block)
        rows = split_rows(len(images), self.fractions, seed=2 * self.split_seed)["train"]
        if not self.generated_path.exists():
            source = {
                "generator": "kernel density",
                "bandwidth": self.bandwidth,
                "keep": self.keep,
                "seed": self.split_seed,
            }
            with CacheWriter(self.generated_path, source=source) as writer:
                writer.write({"image": self._generate(images[rows], labels[rows], self.num_generated, self.split_seed)})
        if not self.classifier_path.exists():
            fit_classifier(self.classifier_path, images[rows], labels[rows])

    def generate(self, num: int, generator: torch.Generator) -> Tensor:
        """(num, 1, 8, 8) uint8: fresh samples of the generator whose samples are in the cache."""
        (block,) = import_digits().blocks()
        rows = split_rows(len(block["image"]), self.fractions, seed=2 * self.split_seed)["train"]
        seed = int(torch.randint(2**31, (), generator=generator))
        return self._generate(block["image"][rows], block["label"][rows], num, seed)

    def _generate(self, images: Tensor, labels: Tensor, num: int, seed: int) -> Tensor:
        """Samples of a density that is fitted to training digits, which `split_seed` chooses by `keep`."""
        generator = torch.Generator().manual_seed(self.split_seed)
        seen = torch.rand(len(labels), generator=generator) < torch.tensor(self.keep)[labels]
        if (left := int(seen.sum())) < 2:
            raise InputError(f"data.keep={self.keep} leaves the generator {left} digits, it needs at least 2")
        data = images[seen].flatten(1).double() * (LEVELS / 255)
        samples = sample_kernel_density(data, num, bandwidth=self.bandwidth, seed=seed)
        # real pixels take 17 levels only: other values would give the generator away, whatever the digit looks like
        return to_bytes(samples.round().clamp(0, LEVELS)).view(-1, *SHAPE)

    def open_tables(self) -> None:
        self.real, self.generated = SampleCache(self.real_path), SampleCache(self.generated_path)


def to_bytes(levels: Tensor) -> Tensor:
    return (levels * (255 / LEVELS)).round().to(torch.uint8)


def fit_classifier(path: Path, images: Tensor, labels: Tensor) -> None:
    """Fits scikit-learn's one-hidden-layer classifier and keeps it as a network of ours."""
    fitted = MLPClassifier((WIDTH,), alpha=1e-2, max_iter=2000, tol=1e-3, random_state=0)
    fitted.fit(images.flatten(1).numpy() / 255, labels.numpy())
    net = build_net(CLASSIFIER, SHAPE, outputs=10)
    layers = [layer for layer in net.modules() if isinstance(layer, torch.nn.Linear)]
    with torch.no_grad():
        for layer, weight, bias in zip(layers, fitted.coefs_, fitted.intercepts_, strict=True):
            layer.weight.copy_(torch.from_numpy(weight.T))
            layer.bias.copy_(torch.from_numpy(bias))
    save_classifier(
        path,
        net,
        CLASSIFIER,
        shape=SHAPE,
        mean=torch.zeros(1, 1, 1),
        std=torch.full((1, 1, 1), 255.0),
        num_features=WIDTH,
        num_classes=10,
    )
