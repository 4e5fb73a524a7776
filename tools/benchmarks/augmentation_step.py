"""A training step of the weighted classifier: its Lightning trainer against a bare PyTorch loop.

Same network, batches, loss and AdamW; an epoch of one after an epoch of the other.
"""

import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule
from pytorch_lightning import Trainer as LightningTrainer
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lfiw.data import TensorTable
from lfiw.data.omniglot import OmniglotDataModule
from lfiw.modules.augmentation import AugmentationClassifier
from lfiw.regimes import TrainingRows
from lfiw.schemas import Conv4, Optimizer, Trainer
from lfiw.tracking import JsonLines
from lfiw.trainers import build_trainer, fit

from .measure import Row, compare

GOAL = 0.95
CLASSES, SHOTS, EACH = 100, 5, 10


def run(rounds: int, steps: int = 40, side: int = 28, width: int = 64, classes: int = CLASSES) -> list[Row]:
    """Batches of 64 drawings, half of them generated, conv4."""
    with TemporaryDirectory() as folder:
        alternation, _ = train(steps, rounds, side, width, classes, Path(folder))
    row = compare(
        "augmentation_step",
        "a bare PyTorch loop: same batches, network, weighted loss and AdamW",
        alternation.ours[1:],
        alternation.theirs[1:],
        unit="ms/step",
        goal=GOAL,
        note=f"conv4, width {width}, 1×{side}×{side}, batch 64, epochs of {steps} steps; without validation",
    )
    return [row]


def train(
    steps: int, rounds: int, side: int, width: int, classes: int, folder: Path
) -> tuple["Alternation", AugmentationClassifier]:
    """One fit as `lfiw.tasks.augmentation` builds it, with the bare loop's epochs in between."""
    data = OmniglotDataModule(
        *tables(classes, side), num_classes=0, shots=SHOTS, validation_shots=1, test_shots=1, steps_per_epoch=steps
    )
    n = len(data.generated)
    weights = torch.rand(n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    data.use(TrainingRows(True, torch.arange(n), weights / weights.mean()))
    net, optimizer = asdict(Conv4(width=width)), asdict(Optimizer())
    options: Mapping[str, Any] = {"shape": (1, side, side), "num_classes": classes, "mean": [20.0], "std": [60.0]}
    module = AugmentationClassifier(net, optimizer, **options)
    alternation = Alternation()
    chosen = Trainer(accelerator="cpu", max_epochs=rounds + 1, patience=0, progress=False)
    trainer = build_trainer(
        chosen,
        folder,
        [JsonLines(folder / "metrics.jsonl")],
        callbacks=[alternation],
        monitor="val/accuracy",
        mode="max",
    )
    fit(trainer, module, data)
    return alternation, module


def tables(classes: int, side: int) -> tuple[TensorTable, TensorTable]:
    """Noise for drawings."""
    generator = torch.Generator().manual_seed(0)
    each = SHOTS + 2
    labels = torch.arange(classes).repeat_interleave(each)
    parents = torch.arange(len(labels)).repeat_interleave(EACH)
    real, generated = (
        torch.randint(256, (rows, 1, side, side), dtype=torch.uint8, generator=generator)
        for rows in (len(labels), len(parents))
    )
    return (
        TensorTable({"image": real, "label": labels}),
        TensorTable({"image": generated, "label": labels[parents], "parent": parents}),
    )


class Alternation(Callback):
    """Before each epoch of the trainer, the same epoch by the bare loop; notes the seconds a step of both."""

    def __init__(self) -> None:
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self._start = 0.0

    def on_train_start(self, trainer: LightningTrainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, AugmentationClassifier)
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        self.bare = BareLoop(pl_module, datamodule.train_dataloader())

    def on_train_epoch_start(self, trainer: LightningTrainer, pl_module: LightningModule) -> None:
        self.theirs.append(self.bare.epoch(trainer.current_epoch))
        self._start = time.perf_counter()

    def on_validation_start(self, trainer: LightningTrainer, pl_module: LightningModule) -> None:
        self.ours.append((time.perf_counter() - self._start) / int(trainer.num_training_batches))


class BareLoop:
    """What one writes without a trainer."""

    def __init__(self, module: AugmentationClassifier, loader: DataLoader[dict[str, torch.Tensor]]) -> None:
        self.net, self.loader = deepcopy(module.net), loader
        self.mean, self.std = module.mean.clone(), module.std.clone()
        matrices = [p for p in self.net.parameters() if p.ndim > 1]
        vectors = [p for p in self.net.parameters() if p.ndim <= 1]
        decay = Optimizer().weight_decay
        groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=Optimizer().lr)

    def epoch(self, epoch: int) -> float:
        """Seconds a step."""
        self.loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        start = time.perf_counter()
        for batch in self.loader:
            logits = self.net((batch["image"].float() - self.mean).div_(self.std))
            losses = F.cross_entropy(logits, batch["label"], reduction="none")
            loss = (batch["weight"] * losses).mean()  # λ = 1, real rows have weight 1
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return (time.perf_counter() - start) / len(self.loader)
