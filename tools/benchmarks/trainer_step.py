"""A training step of the ratio classifier: the Lightning trainer of a run against a bare PyTorch loop.

Both train in one process, an epoch of one after an epoch of the other, from the same weights over the same batches.
"""

import statistics
import time
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule
from pytorch_lightning import Trainer as LightningTrainer
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lfiw.data import TensorTable
from lfiw.data.mixed import MixedDataModule
from lfiw.modules.ratio import RatioClassifier
from lfiw.schemas import MLP, Optimizer, ResNet, Trainer
from lfiw.tracking import JsonLines
from lfiw.trainers import build_trainer, fit

from .measure import Row, compare, limit_beside

BATCH = 256
GOAL = 0.95
MLP_STEPS = 400  # an epoch of the small network must last long enough to be timed


def run_resnet(rounds: int, steps: int = 8) -> list[Row]:
    """Images of 3×32×32 and the network for them: the case that a user waits for."""
    return [time_training("trainer_step", ResNet(), (3, 32, 32), steps, rounds)]


def run_mlp(rounds: int, steps: int = MLP_STEPS) -> list[Row]:
    """The digits' network, whose step is so short that the trainer's own work shows: beside Lightning's alone."""
    return [time_training("trainer_step_mlp", MLP(), (1, 8, 8), steps, rounds, with_limit=True)]


def time_training(
    name: str, net: ResNet | MLP, shape: tuple[int, ...], steps: int, rounds: int, *, with_limit: bool = False
) -> Row:
    with TemporaryDirectory() as folder:
        alternation, classifier = train(net, shape, steps, rounds, Path(folder))
    limit = None
    if with_limit:
        alone = time_lightning_alone(classifier, datamodule_of(shape, steps), rounds)
        limit = limit_beside(
            "Lightning's trainer without callbacks and loggers, the same step", alternation.ours[1:], alone
        )
    epoch_end = statistics.median(alternation.epoch_end)
    return compare(
        name,
        "a bare PyTorch loop: same loader, network, loss and AdamW",
        alternation.ours[1:],  # the first epoch warms up
        alternation.theirs[1:],
        unit="ms/step",
        goal=GOAL,
        limit=limit,
        note=f"{net.name} on {shape}, batch {BATCH}, epochs of {steps} steps; not in it: validation, checkpoint and "
        f"one line of metrics.jsonl at the end of an epoch, {1000 * epoch_end:.0f} ms",
    )


def train(
    net: ResNet | MLP, shape: tuple[int, ...], steps: int, rounds: int, folder: Path
) -> tuple["Alternation", RatioClassifier]:
    """One fit as `lfiw.tasks.ratio` builds it, with the bare loop's epochs in between."""
    torch.manual_seed(0)
    datamodule = datamodule_of(shape, steps)
    classifier = RatioClassifier(asdict(net), asdict(Optimizer()))
    alternation = Alternation()
    options = Trainer(accelerator="cpu", max_epochs=rounds + 1, patience=rounds + 1, progress=False)
    trainer = build_trainer(options, folder, [JsonLines(folder / "metrics.jsonl")], callbacks=[alternation])
    fit(trainer, classifier, datamodule)
    return alternation, classifier


def datamodule_of(shape: tuple[int, ...], steps: int) -> MixedDataModule:
    """An epoch of so many steps; half of each side trains."""
    fractions = {"train": 0.5, "validation": 0.5, "evaluation": 0.0}
    return MixedDataModule(*tables(shape, steps), batch_size=BATCH, fractions=fractions)


def tables(shape: tuple[int, ...], steps: int) -> tuple[TensorTable, TensorTable]:
    """Noise, the generated a little darker."""
    generator = torch.Generator().manual_seed(0)
    rows = steps * BATCH  # a balanced batch takes half its rows from each side
    real, generated = (torch.randint(top, (rows, *shape), dtype=torch.uint8, generator=generator) for top in (256, 250))
    return TensorTable({"image": real}), TensorTable({"image": generated})


class Alternation(Callback):
    """Before each epoch of the trainer, the same epoch by the bare loop; notes the seconds a step of both."""

    def __init__(self) -> None:
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self.epoch_end: list[float] = []
        self._start = self._stop = 0.0

    def on_train_start(self, trainer: LightningTrainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, RatioClassifier)
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        self.bare = BareLoop(pl_module, datamodule.train_dataloader())

    def on_train_epoch_start(self, trainer: LightningTrainer, pl_module: LightningModule) -> None:
        if self._stop:
            self.epoch_end.append(time.perf_counter() - self._stop)
        self.theirs.append(self.bare.epoch(trainer.current_epoch))
        self._start = time.perf_counter()

    def on_validation_start(self, trainer: LightningTrainer, pl_module: LightningModule) -> None:
        self._stop = time.perf_counter()
        self.ours.append((self._stop - self._start) / int(trainer.num_training_batches))


def time_lightning_alone(classifier: RatioClassifier, datamodule: MixedDataModule, rounds: int) -> list[float]:
    """Seconds a step of the epochs after the first: what no callback or hook of ours can go below."""
    datamodule.setup()
    loader = datamodule.train_dataloader()
    module = BareModule(BareLoop(classifier, loader))
    trainer = LightningTrainer(
        accelerator="cpu",
        max_epochs=rounds + 1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(module, loader)
    return module.seconds[1:]


class BareModule(LightningModule):
    """The bare loop's step in Lightning's loop; notes the seconds a step of each epoch."""

    def __init__(self, bare: "BareLoop") -> None:
        super().__init__()
        self.bare, self.net = bare, bare.net
        self.seconds: list[float] = []
        self._start = 0.0

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return self.bare.loss(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.bare.optimizer

    def on_train_epoch_start(self) -> None:
        self._start = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        self.seconds.append((time.perf_counter() - self._start) / len(self.bare.loader))


class BareLoop:
    """What one writes without a trainer."""

    def __init__(self, classifier: RatioClassifier, loader: DataLoader[dict[str, Tensor]]) -> None:
        self.net, self.loader = deepcopy(classifier.net), loader
        self.mean, self.std = classifier.mean.clone(), classifier.std.clone()
        decay = Optimizer().weight_decay
        matrices = [p for p in self.net.parameters() if p.ndim > 1]
        vectors = [p for p in self.net.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=Optimizer().lr)

    def epoch(self, epoch: int) -> float:
        """Seconds a step."""
        self.loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        start = time.perf_counter()
        for batch in self.loader:
            loss = self.loss(batch)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return (time.perf_counter() - start) / len(self.loader)

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        samples = (batch["image"].float() - self.mean).div_(self.std)
        logits = self.net(samples).squeeze(1)
        return F.binary_cross_entropy_with_logits(logits, (batch["side"] == 0).float())
