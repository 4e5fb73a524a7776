"""Training steps: the Lightning trainer of a run against a bare PyTorch loop.

Both train in one process, in alternate epochs, from the same initial weights on the same batches.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule
from pytorch_lightning import Trainer as LightningTrainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lfiw.data import TensorTable
from lfiw.generators import logistic_mixture
from lfiw.generators.gan import GAN
from lfiw.generators.generative_module import build_generative
from lfiw.generators.real_images import RealDataModule
from lfiw.generators.vae import VAEModule, draw
from lfiw.ratio.classifier import RatioClassifier
from lfiw.ratio.mixed import MixedDataModule
from lfiw.schemas import MLP, SNGAN, VAE, Conv4, Optimizer, ResNet, Trainer
from lfiw.tasks.augmentation.drawing_classifier import AugmentationClassifier
from lfiw.tasks.augmentation.omniglot import OmniglotDataModule
from lfiw.tasks.augmentation.regimes import TrainingRows
from lfiw.training.tracking import JsonLines
from lfiw.training.trainer import MONITOR, build_trainer, fit

from .measure import IMAGE, Row, compare, images

GOAL = 0.95
BATCH, GENERATOR_BATCH = 256, 32
MLP_STEPS = 400  # so that an epoch of the small network lasts long enough to be timed
CLASSES, SHOTS, EACH = 100, 5, 10  # of drawings, and generated samples per drawing

Batch = dict[str, Tensor]


class BareLoop:
    """The loop that one writes without a trainer; starts from a copy of a module's weights."""

    weight_decay = Optimizer().weight_decay

    def __init__(self, module: LightningModule, loader: DataLoader[Batch]) -> None:
        owner, module._trainer = module._trainer, None  # so that deepcopy leaves out the trainer
        self.module: Any = deepcopy(module)
        module._trainer = owner
        self.loader = loader
        self.optimizers = [self.optimizer_of(part) for part in self.parts()]

    def parts(self) -> list[nn.Module]:
        """Returns the parts that have an optimizer each."""
        return [self.module.net]

    def optimizer_of(self, part: nn.Module) -> torch.optim.Optimizer:
        matrices, vectors = ([p for p in part.parameters() if (p.ndim > 1) == wide] for wide in (True, False))
        groups = [{"params": matrices, "weight_decay": self.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=Optimizer().lr)

    def epoch(self, number: int) -> float:
        """Trains for an epoch → its seconds."""
        self.loader.sampler.set_epoch(number)  # type: ignore[attr-defined]
        start = time.perf_counter()
        for i, batch in enumerate(self.loader):
            self.step(i, batch)
        return time.perf_counter() - start

    def step(self, i: int, batch: Batch) -> None:
        descend(self.optimizers[0], self.loss(batch))

    def loss(self, batch: Batch) -> Tensor:
        raise NotImplementedError

    def outputs(self, batch: Batch) -> Tensor:
        """Runs the network on standardised images."""
        return self.module.net((batch["image"].float() - self.module.mean).div_(self.module.std))


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


class BareRatio(BareLoop):
    def loss(self, batch: Batch) -> Tensor:
        return F.binary_cross_entropy_with_logits(self.outputs(batch).squeeze(1), (batch["side"] == 0).float())


class BareAugmentation(BareLoop):
    def loss(self, batch: Batch) -> Tensor:
        losses = F.cross_entropy(self.outputs(batch), batch["label"], reduction="none")
        return (batch["weight"] * losses).mean()  # λ = 1, real rows have weight 1


class BareVAE(BareLoop):
    weight_decay = 0.0

    def parts(self) -> list[nn.Module]:
        return [self.module]

    def loss(self, batch: Batch) -> Tensor:
        mean, log_variance = self.module.encoder(logistic_mixture.to_signed(batch["image"], torch.float32))
        parameters = self.module.decoder(draw(mean, log_variance, torch.randn_like(mean)))
        likelihood = logistic_mixture.log_prob(parameters, batch["image"]).sum((1, 2))
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
        return (divergence - likelihood).mean()


class BareGAN(BareLoop):
    weight_decay = 0.0

    def parts(self) -> list[nn.Module]:
        return [self.module.generator, self.module.critic]

    def step(self, i: int, batch: Batch) -> None:
        module, (of_generator, of_critic) = self.module, self.optimizers
        real = logistic_mixture.to_signed(batch["image"], torch.float32)
        with torch.no_grad():
            generated = module.generator(torch.randn(len(real), module.latent))
        of_real, of_generated = module.critic(torch.cat([real, generated])).chunk(2)
        descend(of_critic, F.relu(1 - of_real).mean() + F.relu(1 + of_generated).mean())
        if (i + 1) % module.critic_steps == 0:
            module.critic.requires_grad_(False)
            descend(of_generator, -module.critic(module.generator(torch.randn(len(real), module.latent))).mean())
            module.critic.requires_grad_(True)


LOOPS: Mapping[type[LightningModule], type[BareLoop]] = {
    RatioClassifier: BareRatio,
    AugmentationClassifier: BareAugmentation,
    VAEModule: BareVAE,
    GAN: BareGAN,
}


class Alternation(Callback):
    """Runs an epoch of the peer before each epoch of the trainer, and records the seconds of both.

    Args:
        peer: runs the epoch of that number → its seconds. If None, the bare loop.
    """

    def __init__(self, peer: Callable[[int], float] | None = None) -> None:
        self.peer = peer
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self.epoch_end: list[float] = []
        self._start = self._stop = 0.0

    def on_train_start(self, trainer: LightningTrainer, pl_module: LightningModule) -> None:
        self.steps = int(trainer.num_training_batches)
        if self.peer is None:
            datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
            self.bare = LOOPS[type(pl_module)](pl_module, datamodule.train_dataloader())
            self.peer = self.bare.epoch

    def on_train_epoch_start(self, trainer: LightningTrainer, pl_module: LightningModule) -> None:
        assert self.peer is not None
        if self._stop:
            self.epoch_end.append(time.perf_counter() - self._stop)
        self.theirs.append(self.peer(trainer.current_epoch))
        self._start = time.perf_counter()

    def on_validation_start(self, trainer: LightningTrainer, pl_module: LightningModule) -> None:
        self._stop = time.perf_counter()
        self.ours.append(self._stop - self._start)


def alternate(
    module: LightningModule,
    data: LightningDataModule,
    epochs: int,
    *,
    peer: Callable[[int], float] | None = None,
    monitor: str | None = MONITOR,
    mode: str = "min",
) -> Alternation:
    """Trains as `lfiw.tasks` does, with the peer's epochs in between."""
    found = Alternation(peer)
    options = Trainer(accelerator="cpu", max_epochs=epochs, patience=epochs, progress=False)
    with TemporaryDirectory() as name:
        loggers = [JsonLines(Path(name) / "metrics.jsonl")]
        trainer = build_trainer(options, Path(name), loggers, callbacks=[found], monitor=monitor, mode=mode)
        fit(trainer, module, data, monitor=monitor)
    return found


def row_of(name: str, alternation: Alternation, same: str, **terms: Any) -> Row:
    """Returns the row, without the first epoch, which warms up."""
    ours, theirs = ([s / alternation.steps for s in side[1:]] for side in (alternation.ours, alternation.theirs))
    return compare(
        name, f"a bare PyTorch loop: same {same} and AdamW", ours, theirs, unit="ms/step", goal=GOAL, **terms
    )


def run_resnet(rounds: int, steps: int = 8) -> list[Row]:
    """Times a step of the network for 3×32×32 images, the case in which users wait longest."""
    return [time_ratio("trainer_step", ResNet(), IMAGE, steps, rounds)]


def run_mlp(rounds: int, steps: int = MLP_STEPS) -> list[Row]:
    """Times a step of the digits' network, so short that the trainer's overhead shows; Lightning alone is the limit."""
    return [time_ratio("trainer_step_mlp", MLP(), (1, 8, 8), steps, rounds, with_limit=True)]


def time_ratio(
    name: str, net: ResNet | MLP, shape: tuple[int, ...], steps: int, rounds: int, *, with_limit: bool = False
) -> Row:
    alternation, classifier = train_ratio(net, shape, steps, rounds)
    limit = None
    if with_limit:
        alone = time_lightning_alone(classifier, mixed(shape, steps), rounds)
        limit = ("Lightning's trainer without callbacks and loggers, the same step", alone)
    epoch_end = 1000 * statistics.median(alternation.epoch_end)
    note = f"{net.name} on {shape}, batch {BATCH}, epochs of {steps} steps; not included: the end of an epoch, "
    note += f"which validates, saves a checkpoint and writes a line of metrics.jsonl in {epoch_end:.0f} ms"
    return row_of(name, alternation, "loader, network, loss", limit=limit, note=note)


def train_ratio(
    net: ResNet | MLP, shape: tuple[int, ...], steps: int, rounds: int
) -> tuple[Alternation, RatioClassifier]:
    torch.manual_seed(0)
    classifier = RatioClassifier(asdict(net), asdict(Optimizer()))
    return alternate(classifier, mixed(shape, steps), rounds + 1), classifier


def mixed(shape: tuple[int, ...], steps: int) -> MixedDataModule:
    """Makes noise images, the generated ones a little darker; half of each side trains, `steps` steps per epoch."""
    rows = steps * BATCH  # a balanced batch takes half its rows from each side
    generator = torch.Generator().manual_seed(0)
    sides = [TensorTable({"image": images(rows, shape, top, generator)}) for top in (256, 250)]
    return MixedDataModule(*sides, batch_size=BATCH, fractions={"train": 0.5, "validation": 0.5, "evaluation": 0.0})


def time_lightning_alone(classifier: RatioClassifier, datamodule: MixedDataModule, rounds: int) -> list[float]:
    """Times Lightning without our callbacks and hooks → seconds per step of each epoch after the first."""
    datamodule.setup()
    loader = datamodule.train_dataloader()
    module = BareModule(BareRatio(classifier, loader))
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
    """Does the bare loop's step in Lightning's loop, and records the seconds per step of each epoch."""

    def __init__(self, bare: BareLoop) -> None:
        super().__init__()
        self.bare, self.net = bare, bare.module.net
        self.seconds: list[float] = []
        self._start = 0.0

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.bare.loss(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.bare.optimizers[0]

    def on_train_epoch_start(self) -> None:
        self._start = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        self.seconds.append((time.perf_counter() - self._start) / len(self.bare.loader))


def run_generators(rounds: int, steps: int = 10) -> list[Row]:
    """Times steps of the SNGAN and of the VAE."""
    return [time_generator(net, rounds, steps) for net in (SNGAN(width=32, critic_width=32), VAE(width=16, latent=32))]


def time_generator(net: SNGAN | VAE, rounds: int, steps: int) -> Row:
    module = build_generative(asdict(net), IMAGE, asdict(Optimizer(weight_decay=0.0)), 0)
    table = TensorTable({"image": images(2 * steps * GENERATOR_BATCH)})
    data = RealDataModule(table, validation=0.5, batch_size=GENERATOR_BATCH)
    alternation = alternate(module, data, rounds + 1, monitor=module.monitor)
    note = f"batch {GENERATOR_BATCH} of {IMAGE}, epochs of {steps} steps"
    return row_of(f"{net.name}_step", alternation, "loader, networks, losses", note=note)


def run_augmentation(
    rounds: int, steps: int = 40, side: int = 28, width: int = 64, classes: int = CLASSES
) -> list[Row]:
    """Times a step of conv4 on batches of 64 drawings, half of them generated ones drawn by weight."""
    alternation, _ = train_augmentation(steps, rounds, side, width, classes)
    note = f"conv4, width {width}, 1×{side}×{side}, batch 64, epochs of {steps} steps, rows drawn by weight; "
    note += "without validation"
    return [row_of("augmentation_step", alternation, "batches, network, loss", note=note)]


def train_augmentation(
    steps: int, rounds: int, side: int, width: int, classes: int
) -> tuple[Alternation, AugmentationClassifier]:
    """Trains on noise instead of drawings."""
    shape = (1, side, side)
    labels = torch.arange(classes).repeat_interleave(SHOTS + 2)
    parents = torch.arange(len(labels)).repeat_interleave(EACH)
    real = TensorTable({"image": images(len(labels), shape), "label": labels})
    generated = TensorTable({"image": images(len(parents), shape), "label": labels[parents], "parent": parents})
    counts: Mapping[str, Any] = {
        "num_classes": 0,
        "shots": SHOTS,
        "validation_shots": 1,
        "test_shots": 1,
        "steps_per_epoch": steps,
    }
    data = OmniglotDataModule(real, generated, **counts)
    n = len(data.generated)  # of the training drawings
    weights = torch.rand(n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    data.use(TrainingRows(True, torch.arange(n), weights / weights.mean(), drawn=True))
    options: Mapping[str, Any] = {"shape": shape, "num_classes": classes, "mean": [20.0], "std": [60.0]}
    module = AugmentationClassifier(asdict(Conv4(width=width)), asdict(Optimizer()), **options)
    return alternate(module, data, rounds + 1, monitor="val/accuracy", mode="max"), module
