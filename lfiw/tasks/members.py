"""The classifiers of one run: one, or one for each fold of cross-fitting and each member of an ensemble."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from pytorch_lightning.loggers import Logger

from lfiw.data.batches import mix_seeds
from lfiw.data.mixed import MixedDataModule
from lfiw.modules.ratio import RatioClassifier
from lfiw.schemas import Config
from lfiw.tracking import Prefixed
from lfiw.trainers import CHECKPOINTS, build_trainer, fit, last_checkpoint


@dataclass(frozen=True)
class Member:
    """One classifier of a run.

    Args:
        fold: whose held-out rows it never sees.
        number: in the ensemble of that fold.
        name: of its folder and its column; empty where there is no other.
    """

    fold: int
    number: int
    name: str

    def checkpoints(self, run_dir: Path) -> Path:
        return run_dir / CHECKPOINTS / self.name

    def seed(self, seed: int) -> int:
        """Of the initial weights and the batches; the run's own seed for the first one."""
        return mix_seeds(seed, self.fold, self.number) % 2**32 if self.name else seed


def members_of(config: Config) -> list[Member]:
    """Fold by fold."""
    several = config.folds * config.ensemble > 1
    return [
        Member(fold, number, f"fold{fold}-member{number}" if several else "")
        for fold in range(config.folds)
        for number in range(config.ensemble)
    ]


def train_classifier(
    config: Config, run_dir: Path, loggers: Sequence[Logger], datamodule: MixedDataModule, seed: int, name: str
) -> dict[str, float]:
    """Trains one classifier on the data module's rows; a resumed run continues where it stopped.

    Args:
        seed: of the initial weights.
        name: of its folder below checkpoints/, and what its logged values are prefixed with; may be empty.

    Returns:
        What the training logged last.
    """
    classifier = RatioClassifier(asdict(config.model), asdict(config.optimizer), seed=seed, loss=asdict(config.loss))
    own = [Prefixed(logger, f"{name}/") for logger in loggers] if name else loggers
    folder = run_dir / CHECKPOINTS / name
    trainer = build_trainer(config.trainer, run_dir, own, checkpoints=folder, ema_decay=config.optimizer.ema_decay)
    fit(trainer, classifier, datamodule, last_checkpoint(folder, config.resume))
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def train_members(
    config: Config, run_dir: Path, loggers: Sequence[Logger], datamodule: MixedDataModule
) -> dict[str, float]:
    """Train every classifier of the run, one after another; a resumed run goes on where it stopped.

    Returns:
        What each training logged last, the mean over them.
    """
    logged: dict[str, list[float]] = defaultdict(list)
    for member in members_of(config):
        seed = member.seed(config.seed)
        datamodule.use_fold(member.fold)
        datamodule.seed = seed
        found = train_classifier(config, run_dir, loggers, datamodule, seed, member.name)
        for name, value in found.items():
            logged[name].append(value)
    datamodule.seed = config.seed
    datamodule.use_fold(0)
    return {name: fmean(values) for name, values in logged.items()}
