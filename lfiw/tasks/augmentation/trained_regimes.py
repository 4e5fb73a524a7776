"""The classifiers of the regimes, each trained once, and the gates that choose among them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from pytorch_lightning.loggers import Logger
from torch import Tensor

from lfiw.data.table import Table
from lfiw.schemas import Config
from lfiw.tasks.augmentation.drawing_classifier import AugmentationClassifier
from lfiw.tasks.augmentation.embedding_heads import Points, Right, linear_head, nearest_means
from lfiw.tasks.augmentation.omniglot import OmniglotDataModule
from lfiw.tasks.augmentation.regimes import AUTO, ON_EMBEDDING, training_rows
from lfiw.tasks.augmentation.source_ratio import SourceRatio
from lfiw.tasks.augmentation.weighting_gate import TrainingGate, ask_source, ask_validation
from lfiw.training.tracking import Prefixed
from lfiw.training.trainer import CHECKPOINTS, best_checkpoint, build_trainer, fit, last_checkpoint
from lfiw.untrusted import read_checkpoint
from lfiw.weighting.weights import Weighting

MONITOR = "val/accuracy"
CHOICES = {AUTO: ("both_drawn", "both"), "head_auto": ("head_weighted", "head_both")}  # weighted, unweighted


@dataclass(frozen=True)
class RegimeOutcome:
    """One classifier.

    Args:
        record: its accuracies, steps and seconds, as in augmentation.json.
        right: which validation drawings it recognises.
    """

    record: dict[str, float]
    right: Bool[Tensor, " n"]


class Regimes:
    """Trains what is asked for; a regime that two others need is trained once.

    Args:
        ratio: of source characters, whose embedding some regimes use. May be None.
        log_ratio: of the generated rows. May be None.
        weighting: flatten, clip, smooth.

    Attributes:
        gates: what the regimes that choose have decided, by name.
    """

    def __init__(
        self,
        config: Config,
        run_dir: Path,
        loggers: Sequence[Logger],
        datamodule: OmniglotDataModule,
        ratio: SourceRatio | None,
        log_ratio: Float[Tensor, " n"] | None,
        weighting: Weighting,
    ) -> None:
        self.config, self.run_dir, self.loggers, self.datamodule = config, run_dir, loggers, datamodule
        self.ratio, self.log_ratio, self.weighting = ratio, log_ratio, weighting
        self.gates: dict[str, TrainingGate] = {}
        self._outcomes: dict[str, RegimeOutcome] = {}

    def outcome(self, name: str) -> RegimeOutcome:
        """The classifier of a regime."""
        if name not in self._outcomes:
            make: Callable[[str], RegimeOutcome] = self._train
            if name in CHOICES:
                make = self._choose
            elif name in ON_EMBEDDING:
                make = self._on_embedding
            self._outcomes[name] = make(name)
        return self._outcomes[name]

    def _train(self, name: str) -> RegimeOutcome:
        labels = self.datamodule.generated["label"]
        self.datamodule.use(training_rows(name, labels, self.log_ratio, self.weighting, self.config.seed))
        return train_regime(self.config, self.run_dir, self.loggers, self.datamodule, name)

    def _choose(self, name: str) -> RegimeOutcome:
        """Weighted or not; the weighted classifier is trained only if the ratio found something to correct."""
        weighted, unweighted = CHOICES[name]
        # log-ratios that were given are not those of the ratio of source characters
        held_out = self.ratio.held_out if self.ratio and self.config.data.log_ratio is None else None
        gate = ask_source(held_out, unweighted) if held_out else None
        if gate is None:
            sides = self.outcome(weighted).right, self.outcome(unweighted).right
            labels = self.datamodule.drawings["validation"]["label"]
            gate = ask_validation(*sides, labels, (weighted, unweighted), held_out)
        self.gates[name] = gate
        return self.outcome(gate.regime)

    def _on_embedding(self, name: str) -> RegimeOutcome:
        started = time.perf_counter()
        train, validation, test = (self._points[part] for part in ("train", "validation", "test"))
        if name == "prototypes":
            right = nearest_means(train, validation, test)
        elif name == "head":
            right = linear_head(train, validation, test)
        else:
            generated, weights = self._points["generated"], None
            if name == "head_weighted":
                labels = self.datamodule.generated["label"]
                weights = training_rows(
                    "both_weighted", labels, self.log_ratio, self.weighting, self.config.seed
                ).weights
            right = linear_head(train, validation, test, generated, weights)
        return outcome_of(right, time.perf_counter() - started)

    @cached_property
    def _points(self) -> dict[str, Points]:
        assert self.ratio is not None
        embedding = self.ratio.embedding
        tables: dict[str, Table] = {**self.datamodule.drawings, "generated": self.datamodule.generated}
        return {name: Points(embedding.points(table["image"]), table["label"]) for name, table in tables.items()}


def outcome_of(right: Right, seconds: float) -> RegimeOutcome:
    validation, test = (part.double().mean().item() for part in right)
    return RegimeOutcome(
        {"validation_accuracy": validation, "test_accuracy": test, "steps": 0, "seconds": seconds}, right[0]
    )


def train_regime(
    config: Config, run_dir: Path, loggers: Sequence[Logger], datamodule: OmniglotDataModule, regime: str
) -> RegimeOutcome:
    """One network: its best epoch by validation accuracy, and that epoch's accuracy on the test drawings."""
    started = time.perf_counter()
    pixels = datamodule.drawings["train"]["image"].double()
    module = AugmentationClassifier(
        asdict(config.model),
        asdict(config.optimizer),
        shape=datamodule.image_shape,
        num_classes=datamodule.num_classes,
        mean=pixels.mean((0, 2, 3)).tolist(),
        std=pixels.std((0, 2, 3)).clamp(min=1e-6).tolist(),
        coefficient=config.task.coefficient,
        seed=config.seed,
    )
    folder = run_dir / CHECKPOINTS / regime
    own = [Prefixed(logger, f"{regime}/") for logger in loggers]
    trainer = build_trainer(
        config.trainer,
        run_dir,
        own,
        checkpoints=folder,
        ema_decay=config.optimizer.ema_decay,
        monitor=MONITOR,
        mode="max",
    )
    fit(trainer, module, datamodule, last_checkpoint(folder, config.resume))
    steps = trainer.global_step
    module.load_state_dict(read_checkpoint(best_checkpoint(folder), "cpu")["state_dict"])
    (validation,) = trainer.validate(module, datamodule.val_dataloader(), verbose=False)
    (test,) = trainer.test(module, datamodule.test_dataloader(), verbose=False)
    found = {f"validation_{name.removeprefix('val/')}": value for name, value in validation.items()}
    found |= {f"test_{name.removeprefix('test/')}": value for name, value in test.items()}
    drawings = datamodule.drawings["validation"]
    with torch.inference_mode():
        right = module.eval()(drawings["image"].to(module.device)).argmax(1).cpu() == drawings["label"]
    return RegimeOutcome({**found, "steps": steps, "seconds": time.perf_counter() - started}, right)
