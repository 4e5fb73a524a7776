"""CIFAR-10 against a generator: scores with and without weights, the choice of the ratio network, and the reference."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lfiw.data import SampleCache
from lfiw.data.mixed import MixedDataModule
from lfiw.metrics import frechet_distance_from_features, kernel_distance
from lfiw.results import row
from train import train

from .repeated import Found, Row, collect, repeat, rows_of

SHORT = ["experiment=cifar10_gan", "evaluation.paper=false", "evaluation.figures=false", "evaluation.reference=none"]
ONE = "evaluation.weightings=[{name: self-normalised}]"
NETWORKS = {
    "linear, Inception features": ["model.depth=0", "model.dropout=0"],
    "MLP 2 × 128": ["model.width=128", "model.dropout=0", "optimizer.weight_decay=0.01"],
    "MLP 2 × 512, dropout, weight decay": [],
    "the same, spectral norm": ["model.spectral_norm=true"],
    "MLP 2 × 128, ResNet-56 features": ["data.input=features/resnet56", "model.width=128"],
}


def run(seeds: int, overrides: Sequence[str]) -> tuple[list[Row], list[Path]]:
    """The experiment, and real rows against real rows. No pictures: CIFAR-10's images are not ours to publish."""
    found, runs = repeat("cifar10_gan", seeds, overrides)
    return [*rows_of(found), *reference(runs[0]["datamodule"], runs[0]["record"])], []


def reference(datamodule: MixedDataModule, record: dict[str, Any]) -> list[Row]:
    """FID of the test split against the first 10,000 and all training images; KID, which has no bias, at 10,000."""
    extractor = record["extractors"][0]
    test, train_split = datamodule.real_evaluation, datamodule.real
    assert isinstance(test, SampleCache)
    assert isinstance(train_split, SampleCache)
    column = f"features/{extractor['key']}"
    ours: Tensor = test[column]
    rows = []
    for num in (10_000, len(train_split)):
        others = train_split[column][:num]
        name = f"test split against {num:,} training images"
        rows.append(row(name, "fid", [frechet_distance_from_features(others, ours).item()]))
        if num == len(ours):
            rows.append(row(name, "kid", [kernel_distance(others, ours).item()]))
    return rows


def networks(seeds: int, overrides: Sequence[str]) -> tuple[list[Row], list[Path]]:
    """Which ratio network: its log-loss on validation rows, and what self-normalised weights by it do."""
    rows: list[Row] = []
    for name, own in NETWORKS.items():
        found: Found = defaultdict(list)
        for seed in range(seeds):
            _, objects = train([*SHORT, ONE, f"seed={seed}", f"data.split_seed={seed}", *own, *overrides])
            collect(objects, found)
        rows.append(row(name, "log_loss", found["classifier", "log_loss"]))
        for (weighting, metric), values in found.items():
            if weighting == "self-normalised":
                rows.append(row(name, metric, values))
    return rows, []
