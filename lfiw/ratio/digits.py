"""Data sets with a bias made on purpose: scikit-learn's digits, and labelled tables with skewed classes."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from sklearn.neural_network import MLPClassifier
from torch import Tensor

from lfiw.data.cache.reader import SampleCache
from lfiw.data.cache.writer import CacheWriter
from lfiw.data.importers.datasets import import_digits
from lfiw.data.kernel_density import sample_kernel_density
from lfiw.data.splits import REAL, Subset, split_rows
from lfiw.data.table import Table
from lfiw.errors import InputError
from lfiw.features.small_classifier import save_classifier
from lfiw.nets import build_net
from lfiw.ratio.mixed import MixedDataModule

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
        if len(keep) != 10 or not any(keep):
            raise InputError(f"data.keep={keep}: expected ten shares, not all zero")
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


class DigitsCandidates:
    """Fresh samples of the kernel density estimate whose samples experiment=digits has in its cache."""

    def __init__(self, datamodule: DigitsDataModule) -> None:
        self.datamodule = datamodule

    def sample(self, num: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {"image": self.datamodule.generate(num, generator)}


LABEL = "label"


class SkewedDataModule(MixedDataModule):
    """A "generator" whose exact density ratio is known: it draws real samples, some classes too rarely.

    A random half of the table's rows is the real side. Of the other half the generator keeps each row with the
    probability `keep` of its class, so that p(x)/p_θ(x) = p(class)/p_θ(class) with the shares of the two sides' rows
    (data-set bias as in Choi et al., ICML 2020).

    Args:
        table: with a column `label`, whole numbers from 0.
        keep: for each class the share of its rows that the generator keeps, in (0, 1].
        real_evaluation: real rows to score on.
        options: of `MixedDataModule`.

    Raises:
        InputError: no labels, more classes than `keep` has shares, or a class that one side lacks.
    """

    def __init__(
        self, table: Table, keep: Sequence[float], *, real_evaluation: Table | None = None, **options: Any
    ) -> None:
        super().__init__(table, table, real_evaluation=real_evaluation, **options)
        if LABEL not in table.columns:
            raise InputError(f"{table} has no column {LABEL!r}: a skew by class needs labels")
        self._labels: Int64[Tensor, " n"] = table[LABEL].long()
        if self._labels.numel() and (self._labels.min() < 0 or self._labels.max() >= len(keep)):
            raise InputError(f"data.keep has {len(keep)} shares, the labels go from 0 to {int(self._labels.max())}")
        generator = torch.Generator().manual_seed(self.split_seed)
        order = torch.randperm(len(table), generator=generator)
        half = len(table) // 2
        kept = torch.rand(len(table), generator=generator) < torch.tensor(keep)[self._labels]
        others = order[half:]
        self._rows = (order[:half].sort().values, others[kept[others]].sort().values)
        self._log_ratio_of_class = self._exact(len(keep))

    def _exact(self, num_classes: int) -> Float[Tensor, " c"]:
        real, generated = (
            torch.bincount(self._labels[rows], minlength=num_classes).double() / max(1, len(rows))
            for rows in self._rows
        )
        if lacking := [c for c in range(num_classes) if bool(real[c] > 0) != bool(generated[c] > 0)]:
            raise InputError(f"class {lacking[0]} has rows on one side only: give it a larger share in data.keep")
        return (real / generated).log()

    def available_rows(self, side: int) -> Tensor:
        return self._rows[0 if side == REAL else 1]

    def exact_log_ratio(self, subset: Subset) -> Tensor | None:
        return self._log_ratio_of_class[self._labels[subset.rows]]
