"""Training on rows with skewed class proportions, with learned and with exact weights.

A classifier trains on labelled rows, among which some classes are rare. Unlabelled rows have equal class proportions.
The learned weights come from a ratio between the two sets, or are its mean over the rows of a class, which is valid if
only the class proportions differ. The exact weights are the inverse shares of the classes.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lfiw import RatioEstimator
from lfiw.data import SampleCache, WeightedRows
from lfiw.errors import InputError
from lfiw.features.hog import histograms
from lfiw.tasks.results import row
from lfiw.weighting.diagnostics import half_width, paired_interval

from .kept import Kept
from .repeated import Row

KEEP = torch.tensor([1.0] * 5 + [0.1] * 5)  # share of each class that is labelled
RARE = KEEP < 1
KINDS = ("exact", "learned", "learned by class")
REGIMES = ("unweighted", *(f"{kind}, {way}" for kind in KINDS for way in ("loss", "drawn")))
PAIRS = (*((regime, "unweighted") for regime in REGIMES[1:]), *((f"{k}, drawn", f"{k}, loss") for k in KINDS))
STEPS, BATCH, WIDTH = 300, 64, 128


@dataclass(frozen=True)
class Data:
    """A data set of ten classes.

    Args:
        inputs: what the classifier sees, standardised.
        features: what the ratio sees.
    """

    inputs: Tensor
    features: Tensor
    labels: Tensor


def run(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Reports accuracy, balanced and on the rare classes, differences, and shares of the exact weights' gain.

    Overrides: `cifar10=CACHE` and `features=COLUMN`, a column of that cache. Without them, only digits are used.
    """
    options = dict(override.partition("=")[::2] for override in overrides)
    if unknown := options.keys() - {"cifar10", "features"}:
        raise InputError(f"{min(unknown)}: expected cifar10=CACHE and features=COLUMN")
    sets = {"digits": digits}
    if "cifar10" in options:
        sets["cifar10"] = partial(cifar10, Path(options["cifar10"]), options["features"])
    rows: list[Row] = []
    for name, load in sets.items():
        data = load()
        found: dict[str, dict[str, list[float]]] = {
            m: defaultdict(list) for m in ("balanced_accuracy", "rare_accuracy")
        }
        for seed in range(seeds):
            one = kept.get(f"{name} seed {seed}", partial(accuracies, data, seed))
            for regime, (balanced, rare) in one.items():
                found["balanced_accuracy"][regime].append(balanced)
                found["rare_accuracy"][regime].append(rare)
        for metric, of_regime in found.items():
            rows += [{**r, "name": f"{name}: {r['name']}"} for r in rows_of(metric, of_regime)]
    return rows, []


def rows_of(metric: str, values: dict[str, list[float]]) -> list[Row]:
    rows = [row(regime, metric, values[regime]) for regime in REGIMES]
    for first, second in PAIRS:
        gaps = [a - b for a, b in zip(values[first], values[second], strict=True)]
        rows.append(row(f"{first}-{second}", metric, gaps, **interval(gaps)))
    for kind in KINDS[1:]:
        for way in ("loss", "drawn"):
            gains = [np.subtract(values[f"{k}, {way}"], values["unweighted"]) for k in (kind, "exact")]
            shares = ratios_without_each(*gains)
            share = gains[0].mean() / gains[1].mean()
            half = half_width(float(np.sqrt((len(shares) - 1) * shares.var())), len(shares) - 1)
            interval_of = {"low": share - half, "high": share + half}
            rows.append(
                {"name": f"{kind}, {way}: share", "metric": metric, "mean": share, "n": len(shares), **interval_of}
            )
    return rows


def ratios_without_each(learned: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Returns the ratios of mean gains that leave out one seed each, for the jackknife's standard error."""
    return (learned.sum() - learned) / (exact.sum() - exact)


def interval(gaps: Sequence[float]) -> dict[str, float]:
    return dict(zip(("low", "high"), paired_interval(gaps), strict=True)) if len(gaps) > 1 else {}


def digits() -> Data:
    found = load_digits()
    pixels = torch.from_numpy(found.data).float() / 16
    return Data(standardised(pixels), pixels, torch.from_numpy(found.target).long())


def cifar10(cache: Path, features: str) -> Data:
    """Reads CIFAR-10: the classifier sees histograms of gradients, the ratio a network's features."""
    table = SampleCache(cache)
    return Data(standardised(histograms(table["image"])), table[features].float(), table["label"].long())


def standardised(values: Tensor) -> Tensor:
    return (values - values.mean(0)) / values.std(0).clamp(min=1e-6)


def accuracies(data: Data, seed: int) -> dict[str, tuple[float, float]]:
    """Returns regime → accuracy, balanced and on rare classes; one third of the rows tests, one third is unlabelled."""
    source = torch.Generator().manual_seed(seed)
    test, unlabelled, labelled = torch.randperm(len(data.labels), generator=source).chunk(3)
    labelled = labelled[torch.rand(len(labelled), generator=source) < KEEP[data.labels[labelled]]]
    classifier = ExtraTreesClassifier(300, min_samples_leaf=3)
    ratio = RatioEstimator(classifier, calibration="beta", seed=seed).fit(
        data.features[unlabelled], data.features[labelled]
    )
    classes = data.labels[labelled]
    learned = torch.softmax(torch.as_tensor(ratio.log_ratio_, dtype=torch.float64), 0)
    mean = torch.zeros(len(KEEP), dtype=torch.float64).index_add_(0, classes, learned) / classes.bincount()
    weights = {"exact": 1 / KEEP[classes].double(), "learned": learned, "learned by class": mean[classes]}
    found = {}
    for regime in REGIMES:
        kind, _, way = regime.partition(", ")
        w = weights.get(kind, torch.ones(len(labelled), dtype=torch.float64))
        net = trained(data.inputs[labelled], data.labels[labelled], w / w.mean(), way == "drawn", seed)
        with torch.no_grad():
            right = (net(data.inputs[test]).argmax(1) == data.labels[test]).double()
        of_class = torch.stack([right[data.labels[test] == label].mean() for label in range(len(KEEP))])
        found[regime] = (of_class.mean().item(), of_class[RARE].mean().item())
    return found


def trained(inputs: Tensor, labels: Tensor, weights: Tensor, drawn: bool, seed: int) -> nn.Module:
    """Trains a network with one hidden layer; weights multiply the losses or draw the rows of each epoch."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(inputs.shape[1], WIDTH), nn.ReLU(), nn.Linear(WIDTH, len(KEEP)))
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.01, fused=True)
    ones = torch.ones_like(weights)
    rows = WeightedRows(weights if drawn else ones, num_rows=STEPS * BATCH, seed=seed)
    in_loss = (ones if drawn else weights).float()
    loader = DataLoader(TensorDataset(inputs, labels, in_loss), batch_size=BATCH, sampler=rows)
    for x, y, w in loader:
        loss = (w * F.cross_entropy(net(x), y, reduction="none")).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net
