"""What cached features save: one more weighting, and one more epoch of the ratio classifier."""

import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from pytorch_lightning import Callback, LightningModule
from pytorch_lightning import Trainer as LightningTrainer
from torch import Tensor

from lfiw.data import TensorTable
from lfiw.data.mixed import MixedDataModule
from lfiw.metrics import inception_score, kernel_distance
from lfiw.metrics.frechet import FrechetReference
from lfiw.modules.ratio import RatioClassifier
from lfiw.schemas import MLP, Optimizer, Trainer
from lfiw.tracking import JsonLines
from lfiw.trainers import build_trainer, fit

from .inception import best_batch, peer_features, pictures, torch_fidelity
from .measure import Row, Side, compare, interleave, seconds_each

GOAL = 100.0
MORE = 4  # weightings after the first
NUM_FEATURES, NUM_CLASSES = 2048, 10
SAMPLE = 32  # images that the peer's extractor is timed on


def run_weighting(rounds: int, n: int = 10_000) -> list[Row]:
    """FID, KID and IS of n generated against n real rows: the first weighting, and each one more in the same call."""
    real, generated = features(n, 0), features(n, 1)
    g = torch.Generator().manual_seed(2)
    probabilities = torch.rand(n, NUM_CLASSES, dtype=torch.float64, generator=g).softmax(1)
    weights = torch.rand(n, 1 + MORE, dtype=torch.float64, generator=g)

    def score(num: int) -> None:
        reference = FrechetReference(real)
        for column in range(num):
            reference.distance(generated, weights[:, column])
        kernel_distance(real, generated, generated_weights=weights[:, :num])
        inception_score(probabilities, weights[:, :num])

    first, all_of_them = (seconds_each(partial(score, num)) for num in (1, 1 + MORE))
    seconds = interleave({"first": first, "all": all_of_them, "peer": from_images(2 * n)}, rounds, warm_ups=0)
    more = [(a - f) / MORE for a, f in zip(seconds["all"], seconds["first"], strict=True)]
    note = (
        f"FID, KID and IS of {n:,} generated against {n:,} real rows; the peer's time is that of {SAMPLE} "
        f"images times {2 * n // SAMPLE:,}, without its scores; with the real side's features known it is half"
    )
    peer = "torch-fidelity's extractor on the images"
    return [
        compare("score_10k", peer, seconds["first"], seconds["peer"], unit="s", goal=None, note=note),
        compare(
            "reweight_10k",
            peer,
            more,
            seconds["peer"],
            unit="s",
            goal=GOAL,
            note=f"what one more weighting adds, from {MORE} more in one call; {note}",
        ),
    ]


def run_epoch(rounds: int, n: int = 50_000) -> list[Row]:
    """An epoch of the MLP on n + n rows of cached features, and a frozen Inception run over as many images."""
    datamodule = MixedDataModule(
        TensorTable({"features": features(n + 1000, 0)}),
        TensorTable({"features": features(n + 1000, 1)}),
        input="features",
        fractions={"train": n / (n + 1000), "validation": 1000 / (n + 1000), "evaluation": 0.0},
    )
    classifier = RatioClassifier(asdict(MLP(width=512, dropout=0.5)), asdict(Optimizer()))
    epochs = Epochs(from_images(2 * n))
    options = Trainer(accelerator="cpu", max_epochs=rounds, patience=rounds + 1, progress=False)
    with TemporaryDirectory() as folder:
        trainer = build_trainer(options, Path(folder), [JsonLines(Path(folder) / "m.jsonl")], callbacks=[epochs])
        fit(trainer, classifier, datamodule)
    return [
        compare(
            "ratio_epoch",
            "a frozen Inception's forward pass in every epoch (torch-fidelity's extractor)",
            epochs.ours,
            epochs.theirs,
            unit="s",
            goal=GOAL,
            note=f"{n:,} + {n:,} rows, MLP 2 × 512 on {NUM_FEATURES} features; the peer's time is that of {SAMPLE} "
            f"images times {2 * n // SAMPLE:,}, without its head",
        )
    ]


class Epochs(Callback):
    """Seconds of each epoch, and of the peer before it."""

    def __init__(self, peer: Side) -> None:
        self.peer = peer
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self._start = 0.0

    def on_train_epoch_start(self, trainer: LightningTrainer, pl_module: LightningModule) -> None:
        self.theirs.append(self.peer())
        self._start = time.perf_counter()

    def on_validation_start(self, trainer: LightningTrainer, pl_module: LightningModule) -> None:
        self.ours.append(time.perf_counter() - self._start)


def from_images(num_images: int) -> Side:
    """Seconds for so many images, from a few of them."""
    peer, images = torch_fidelity(), pictures(SAMPLE)
    batch = best_batch(peer, images)
    extract = seconds_each(lambda: peer_features(peer, images, batch), SAMPLE)
    extract()
    return lambda: extract() * num_images


def features(n: int, seed: int) -> Tensor:
    """Half zeros, as Inception's are near to."""
    return torch.randn(n, NUM_FEATURES, generator=torch.Generator().manual_seed(seed)).relu_()
