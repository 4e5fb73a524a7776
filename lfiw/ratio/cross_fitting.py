"""The classifiers of a run, one for each fold and ensemble member, and the one log-ratio per row that they give."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Float, Int64
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from torch import Tensor

from lfiw.data import ColumnWriter, SampleCache
from lfiw.data.batches import mix_seeds
from lfiw.errors import InputError
from lfiw.features.extraction import distinct_caches, has_columns, write_columns
from lfiw.nets import NetLike
from lfiw.ratio.classifier import RatioClassifier, write_calibrator
from lfiw.ratio.mixed import MixedDataModule
from lfiw.schemas import Config
from lfiw.schemas import Trainer as TrainerOptions
from lfiw.training.callbacks import TimeLeft
from lfiw.training.run_folder import column_part
from lfiw.training.tracking import Prefixed
from lfiw.training.trainer import CHECKPOINTS, best_checkpoint, build_trainer, fit, last_checkpoint
from lfiw.untrusted import state_sha256
from lfiw.weighting.calibration import Calibrator, Sides, Validation, fit_calibrators


@dataclass(frozen=True)
class Member:
    """One classifier of a run.

    Args:
        fold: whose held-out rows it never sees.
        number: in the ensemble of that fold.
        name: of its folder and its column; empty where there is no other.
        input: number of the column that it sees, in the data module's `inputs`.
        alone: the only one of its input.
    """

    fold: int
    number: int
    name: str
    input: int = 0
    alone: bool = False

    def checkpoints(self, run_dir: Path) -> Path:
        return run_dir / CHECKPOINTS / self.name

    def seed(self, seed: int) -> int:
        """Of the initial weights and the batches, as in a run on its input alone: the run's own seed if it is alone."""
        return seed if self.alone else mix_seeds(seed, self.fold, self.number) % 2**32


def members_of(folds: int, ensemble: int, inputs: int = 1) -> list[Member]:
    """Input by input, fold by fold.

    Args:
        inputs: columns that have classifiers of their own.
    """
    alone = folds * ensemble == 1
    members = []
    for input in range(inputs):
        for fold in range(folds):
            for number in range(ensemble):
                parts = [f"input{input}"] * (inputs > 1) + [f"fold{fold}-member{number}"] * (not alone)
                members.append(Member(fold, number, "-".join(parts), input, alone))
    return members


def parts_of(config: Config) -> dict[str, Any]:
    """What `train_classifier` takes of a configuration."""
    return {
        "net": asdict(config.model),
        "optimizer": asdict(config.optimizer),
        "loss": asdict(config.loss),
        "options": config.trainer,
        "resume": config.resume,
    }


def train_classifier(
    datamodule: MixedDataModule,
    *,
    net: NetLike,
    optimizer: Mapping[str, Any],
    loss: Mapping[str, Any],
    options: TrainerOptions,
    seed: int,
    run_dir: Path | None = None,
    loggers: Sequence[Logger] = (),
    name: str = "",
    resume: str | None = None,
    callbacks: Sequence[Callback] = (),
) -> tuple[RatioClassifier, dict[str, float]]:
    """Trains one classifier on the data module's rows; a resumed run continues where it stopped.

    Args:
        net, optimizer, loss: as `RatioClassifier` takes them.
        options: of the trainer.
        seed: of the initial weights.
        run_dir: of the run. If None, nothing is written, and the classifier is left as it was in its best epoch.
        name: of its folder below checkpoints/, and what its logged values are prefixed with; may be empty.
        resume: the run that is resumed, if it is.
        callbacks: beside those of every training.

    Returns:
        The classifier, and what the training logged last. With a run folder, the best epoch is in its checkpoint.
    """
    classifier = RatioClassifier(net, optimizer, seed=seed, loss=loss)
    own = [Prefixed(logger, f"{name}/") for logger in loggers] if name else loggers
    folder = run_dir / CHECKPOINTS / name if run_dir is not None else None
    ema_decay = optimizer.get("ema_decay", 0.0)
    trainer = build_trainer(options, run_dir, own, checkpoints=folder, ema_decay=ema_decay, callbacks=callbacks)
    fit(trainer, classifier, datamodule, last_checkpoint(folder, resume) if folder is not None else None)
    return classifier, {name: float(value) for name, value in trainer.callback_metrics.items()}


def train_members(
    config: Config, run_dir: Path, loggers: Sequence[Logger], datamodule: MixedDataModule
) -> dict[str, float]:
    """Trains every classifier of the run, one after another; a resumed run continues where it stopped.

    Returns:
        What each training logged last, the mean over them.
    """
    logged: dict[str, list[float]] = defaultdict(list)
    members = members_of(config.folds, config.ensemble, len(datamodule.inputs))
    time_left = TimeLeft(len(members))
    for member, seed in each_member(datamodule, members, config.seed):
        _, found = train_classifier(
            datamodule,
            seed=seed,
            run_dir=run_dir,
            loggers=loggers,
            name=member.name,
            callbacks=[time_left],
            **parts_of(config),
        )
        for name, value in found.items():
            logged[name].append(value)
    return {name: fmean(values) for name, values in logged.items()}


def each_member(datamodule: MixedDataModule, members: Iterable[Member], seed: int) -> Iterator[tuple[Member, int]]:
    """Each classifier to train and its seed, while the data module has its rows; then as it was."""
    for member in members:
        datamodule.use_input(member.input)
        datamodule.use_fold(member.fold)
        datamodule.seed = member.seed(seed)
        yield member, datamodule.seed
    datamodule.seed = seed
    datamodule.use_input(0)
    datamodule.use_fold(0)


BLOCK = 1_000_000  # rows combined at a time


def log_ratio_column(run_dir: Path) -> str:
    """The column of final log-ratios that a run writes."""
    return f"log_ratio/{column_part(run_dir)}"


def spread_column(run_dir: Path) -> str:
    """The column of an ensemble's standard deviation, in nats."""
    return f"log_ratio_spread/{column_part(run_dir)}"


def member_column(run_dir: Path, member: Member) -> str:
    """The column of one classifier's log-ratios as it was trained."""
    return f"uncalibrated/{column_part(run_dir)}" + (f"/{member.name}" if member.name else "")


def write_log_ratios(
    config: Config, run_dir: Path, trainer: Trainer, datamodule: MixedDataModule
) -> tuple[list[RatioClassifier], Validation]:
    """Fill the run's log-ratio column in every table, unless that has been done by just these classifiers.

    Each classifier scores every row. A row that a fold holds out takes the mean over that fold's ensemble; rows that
    no classifier trains on, the mean over all folds. Each fold has a calibrator of its own, fitted on every other one
    of its validation rows and kept in its checkpoints; the rest of them judges. All that is done for each input, and
    the mean over the inputs is the row's log-ratio.

    Returns:
        The classifiers, calibrated, and the log-ratios of the validation rows that judge.
    """
    members = members_of(config.folds, config.ensemble, len(datamodule.inputs))
    files = [best_checkpoint(member.checkpoints(run_dir)) for member in members]
    classifiers = [RatioClassifier.load(file) for file in files]
    stamps = []
    for member, classifier in zip(members, classifiers, strict=True):
        datamodule.use_input(member.input)
        check_input(classifier, datamodule.input, run_dir)
        classifier.calibrator = None
        stamp: dict[str, Any] = {"sha256": state_sha256(classifier.state_dict()), "counts": list(classifier.counts)}
        columns = {"log_ratio": member_column(run_dir, member)}
        write_columns(
            trainer,
            classifier,
            datamodule.tables.values(),
            datamodule.input,
            columns,
            {"name": "RatioClassifier", **stamp},
            **datamodule.reading,
        )
        stamps.append(stamp)
    datamodule.use_input(0)

    calibrators, judging = calibrate(config, run_dir, datamodule)
    for member, file, classifier in zip(members, files, classifiers, strict=True):
        classifier.calibrator = calibrators[member.input][member.fold]
        if trainer.is_global_zero:
            write_calibrator(file, classifier.calibrator)
    states = [c.state() if c is not None else None for of_input in calibrators for c in of_input]
    stamp = {"name": "RatioClassifier", "members": stamps, "folds": config.folds, "calibration": states}
    if len(datamodule.inputs) > 1:
        stamp["inputs"] = datamodule.inputs
    names = [log_ratio_column(run_dir)] + ([spread_column(run_dir)] if config.ensemble > 1 else [])
    for table in distinct_caches(datamodule.tables.values()):
        if not has_columns(table, names, stamp):
            if trainer.is_global_zero:
                fold_of = datamodule.folds_of(table)
                write_combined(table, names, stamp, combined(table, run_dir, members, calibrators, fold_of))
            trainer.strategy.barrier()
            table.refresh()
    return classifiers, judging


def check_input(classifier: RatioClassifier, column: str, run_dir: Path) -> None:
    """Raises InputError for another column than the classifier was trained on."""
    trained_on = classifier.spec["column"]
    if trained_on != column:
        raise InputError(
            f"data.input: {run_dir} was trained on column {trained_on!r} where {column!r} is to be scored: a finished "
            "run keeps its inputs, their order and their weights"
        )


Calibrators = Sequence[Calibrator | None]  # one per fold


def calibrate(config: Config, run_dir: Path, datamodule: MixedDataModule) -> tuple[list[Calibrators], Validation]:
    """Each input's calibrators, and the log-ratios of the validation rows that are left to judge by: their mean."""
    found = [calibrate_input(config, run_dir, datamodule, number) for number in range(len(datamodule.inputs))]
    return [calibrators for calibrators, _ in found], joined_validation([validation for _, validation in found])


def calibrate_input(
    config: Config, run_dir: Path, datamodule: MixedDataModule, input: int
) -> tuple[Calibrators, Validation]:
    """A calibrator per fold of one input's classifiers, and the log-ratios of the validation rows that judge."""
    log_ratios: list[Sides] = []
    rows: list[Sides] = []
    members = members_of(config.folds, config.ensemble, len(datamodule.inputs))
    members = [member for member in members if member.input == input]
    for fold in range(config.folds):
        datamodule.use_fold(fold)
        columns = [member_column(run_dir, member) for member in members if member.fold == fold]
        real, generated = (
            torch.stack([subset.column(name) for name in columns]).mean(0) for subset in datamodule.splits["validation"]
        )
        log_ratios.append((real, generated))
        of_real, of_generated = datamodule.splits["validation"]
        rows.append((of_real.rows, of_generated.rows))
    datamodule.use_fold(0)
    return fit_calibrators(config.calibration, log_ratios, rows=rows)


def joined_validation(inputs: Sequence[Validation]) -> Validation:
    """The mean over the inputs of the same rows' log-ratios."""

    def mean(sides: Sequence[Sides]) -> Sides:
        real, generated = zip(*sides, strict=True)
        return torch.stack(real).mean(0), torch.stack(generated).mean(0)

    return Validation(mean([v.raw for v in inputs]), mean([v.calibrated for v in inputs]), inputs[0].rows)


def combined(
    table: SampleCache,
    run_dir: Path,
    members: Sequence[Member],
    calibrators: Sequence[Calibrators],
    fold_of: Int64[Tensor, " n"],
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(first row, log-ratios, their spread) of one block of rows after another.

    Args:
        calibrators: of each input.
    """
    columns = [member_column(run_dir, member) for member in members]
    inputs, folds = len(calibrators), len(calibrators[0])
    for start in range(0, len(table), BLOCK):
        block = slice(start, min(start + BLOCK, len(table)))
        values = table.read(block, columns)
        log_ratio = torch.stack([values[name] for name in columns]).unflatten(0, (inputs, folds, -1))
        yield start, *joined(log_ratio, fold_of[block], calibrators)


def joined(
    log_ratio: Float[Tensor, "inputs folds members n"],
    fold_of: Int64[Tensor, " n"],
    calibrators: Sequence[Calibrators],
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """As `combine`, the mean over the inputs; the spread is that over the ensembles' members, as they were trained."""
    each = [combine(values, fold_of, own)[0] for values, own in zip(log_ratio, calibrators, strict=True)]
    _, spread = combine(log_ratio.mean(0), fold_of, [None] * log_ratio.shape[1])
    return torch.stack(each).mean(0), spread


def combine(
    log_ratio: Float[Tensor, "folds members n"],
    fold_of: Int64[Tensor, " n"],
    calibrators: Sequence[Calibrator | None],
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """One log-ratio per row, and the standard deviation over the classifiers it is the mean of.

    Args:
        log_ratio: of every row by every classifier.
        fold_of: the fold that holds the row out; −1: no classifier trained on it, and all folds count.
        calibrators: one per fold. If None, as it is.
    """
    mean = log_ratio.mean(1)
    own = torch.stack([c(m) if c is not None else m for c, m in zip(calibrators, mean, strict=True)])
    held = fold_of >= 0
    fold = fold_of.clamp(min=0)
    rows = torch.arange(len(fold))
    everyone = log_ratio.flatten(0, 1).std(0, correction=0)
    spread = torch.where(held, log_ratio.std(1, correction=0)[fold, rows], everyone)
    return torch.where(held, own[fold, rows], own.mean(0)), spread


def write_combined(
    table: SampleCache, names: Sequence[str], stamp: dict[str, Any], blocks: Iterator[tuple[int, Tensor, Tensor]]
) -> None:
    """Write the columns: log-ratio and, if named, its spread."""
    with ExitStack() as stack:
        writers = [stack.enter_context(ColumnWriter(table, name, stamp=stamp, resume=False)) for name in names]
        for start, *values in blocks:
            for writer, column in zip(writers, values, strict=False):
                writer.write(start, column)
