"""CIFAR-10 against a generator: scores with and without weights, the choice of the ratio's network, a reference."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lfiw.config import compose, load
from lfiw.data import SampleCache
from lfiw.data.splits import GENERATED
from lfiw.evaluation.record import EXACT, EvaluationRecord
from lfiw.evaluation.tables import total_variation
from lfiw.features.inception import InceptionFeatures
from lfiw.metrics import frechet_distance_from_features, kernel_distance
from lfiw.ratio.cross_fitting import log_ratio_column
from lfiw.tasks.inputs import build_datamodule
from lfiw.tasks.results import row
from lfiw.weighting.gate import AUTO, UNIFORM
from lfiw.weighting.weights import Weighting

from .kept import Kept
from .repeated import Row, repeat, rows_of

SHORT = ["calibration=none", "evaluation.paper=false", "evaluation.figures=false", "evaluation.exponents=[]"]
SHORT += ["evaluation.reference=none", "evaluation.intervals=false", "evaluation.permutations=0"]
SHORT += ["folds=1", "data.fractions={train: 0.5, validation: 0.1667, evaluation: 0.3333}"]
PLAIN, FLAT = "self-normalised", "flatten 0.25"
TWO = f"evaluation.weightings=[{{name: {PLAIN}}}, {{name: {FLAT}, flatten: 0.25}}]"
NETWORKS = {
    "linear": ["model.depth=0", "model.dropout=0"],
    "MLP 2 × 128": ["model.width=128", "model.dropout=0", "optimizer.weight_decay=0.01"],
    "MLP 2 × 512": ["model.dropout=0", "optimizer.weight_decay=0.01"],
    "MLP 2 × 512, dropout, weight decay": [],
    "MLP 2 × 2048, dropout, weight decay": ["model.width=2048"],
    "MLP 2 × 512, dropout, weight decay, spectral norm": ["model.spectral_norm=true"],
    "MLP 2 × 128 on ResNet-56's features": ["data.input=features/resnet56", "model.width=128"],
    "ResNet on pixels, crop and flip, 3 epochs": [
        "data.input=image",
        "data.augment=crop_flip",
        "model=resnet",
        "model.width=32",
        "model.dropout=0",
        "optimizer.lr=1e-3",
        "optimizer.weight_decay=0.01",
        "trainer.max_epochs=3",
    ],
}


def run(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Repeats the experiment, and scores real rows against real rows. CIFAR-10's images may not be published."""
    found, _ = repeat("cifar10_gan", seeds, overrides, kept)
    return [*rows_of(found), *kept.get("reference", partial(reference, overrides))], []


def reference(overrides: Sequence[str]) -> list[Row]:
    """Computes the test split's FID against 10,000 and against all training images; KID, being unbiased, once."""
    config = compose(["experiment=cifar10_gan", *overrides]).config
    test, train_split = SampleCache(config.data.real_evaluation), SampleCache(config.data.real)
    extractor = InceptionFeatures(test.column("image").shape, config.features.weights, config.features.precision)
    column = extractor.columns["features"]
    ours: Tensor = test[column]
    rows = []
    for num in (10_000, len(train_split)):
        others = train_split[column][:num]
        name = f"test split against {num:,} training images"
        rows.append(row(name, "fid", [frechet_distance_from_features(others, ours).item()]))
        if num == len(ours):
            rows.append(row(name, "kid", [kernel_distance(others, ours).item()]))
    return rows


def skewed(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Repeats the experiment with skewed real images as the generator; `way_…` is the share of the exact gain."""
    found, folders = repeat("cifar10_skewed", seeds, overrides, kept)
    for folder in folders:
        for name, distance in label_distances(folder).items():
            found[name, "label_distance"].append(distance)
    rows = rows_of(found)
    for metric in ("fid", "fid@resnet56", "kid", "class_distance", "label_distance"):
        if (EXACT, metric) not in found:
            continue
        for name in ("self-normalised", "auto"):
            triples = zip(*(found[w, metric] for w in (UNIFORM, name, EXACT)), strict=True)
            rows.append(row(name, f"way_{metric}", [(u - w) / (u - e) for u, w, e in triples]))
    return rows, []


def label_distances(folder: Path) -> dict[str, float]:
    """Returns weighting → distance of class shares to those of the real evaluation rows, by the true labels."""
    config = load(folder, []).config
    datamodule = build_datamodule(config.data, config.seed, config.folds)
    datamodule.open_tables()
    datamodule.input = "image"  # the split does not depend on it
    datamodule.setup()
    real, generated = (subset.column("label").long() for subset in datamodule.splits["evaluation"])
    subset = datamodule.splits["evaluation"][GENERATED]
    log_ratio, exact = subset.column(log_ratio_column(folder)), datamodule.exact_log_ratio(subset)
    assert exact is not None
    auto = EvaluationRecord.read(folder / "evaluation.json").named(AUTO).weighting
    weights = {
        UNIFORM: torch.full_like(exact, 1 / len(exact)),
        PLAIN: Weighting()(log_ratio),
        AUTO: auto(log_ratio),
        EXACT: torch.softmax(exact, 0),
    }
    classes = int(torch.cat([real, generated]).max()) + 1
    of_real = torch.bincount(real, minlength=classes).double() / len(real)
    return {
        name: total_variation(torch.bincount(generated, w, minlength=classes).tolist(), of_real.tolist())
        for name, w in weights.items()
    }


def networks(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Compares ratio networks by their log-loss on validation rows and by the scores under plain and flat weights."""
    rows: list[Row] = []
    for name, own in NETWORKS.items():
        found, _ = repeat("cifar10_gan", seeds, [*SHORT, TWO, *own, *overrides], kept, part=name)
        rows.append(row(name, "log_loss", found["classifier, raw", "log_loss"]))
        for (weighting, metric), values in found.items():
            if weighting in (PLAIN, FLAT):
                rows.append(row(f"{name}: {weighting}", metric, values))
    return rows, []
