"""The main path: train the ratio classifier, write a log-ratio for every cached sample, score with and without it."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer

from lfiw.data import SampleCache
from lfiw.data.digits import DigitsDataModule
from lfiw.data.mixed import MixedDataModule
from lfiw.errors import InputError
from lfiw.modules.ratio import RatioClassifier
from lfiw.schemas import CachedData, Config, DigitsData
from lfiw.tasks.columns import log_ratio_column, write_columns
from lfiw.tasks.scoring import score
from lfiw.trainers import CHECKPOINTS, best_checkpoint, build_trainer, fit


def run(config: Config, run_dir: Path, loggers: Sequence[Any]) -> tuple[dict[str, float], dict[str, Any]]:
    """Train, predict, score.

    Returns:
        Metrics by name (the classifier's validation scores and the evaluation's), and the objects that made them:
        trainer, classifier, datamodule, record (the content of evaluation.json).
    """
    datamodule = build_datamodule(config.data, config.seed)
    classifier = RatioClassifier(asdict(config.model), asdict(config.optimizer), seed=config.seed)
    trainer = build_trainer(config.trainer, run_dir, loggers, ema_decay=config.optimizer.ema_decay)
    last = run_dir / CHECKPOINTS / "last.ckpt"
    fit(trainer, classifier, datamodule, last if config.resume and last.exists() else None)
    best = RatioClassifier.load(best_checkpoint(run_dir))
    write_log_ratios(trainer, best, datamodule, run_dir)
    record = score(config, run_dir, trainer, datamodule)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return metrics, {"trainer": trainer, "classifier": best, "datamodule": datamodule, "record": record}


def evaluate(config: Config, run_dir: Path, loggers: Sequence[Any]) -> tuple[dict[str, float], dict[str, Any]]:
    """Score a trained run again, under this configuration's weightings and metrics. Returns as `run`."""
    datamodule = build_datamodule(config.data, config.seed)
    trainer = build_trainer(config.trainer, run_dir, loggers)
    if trainer.global_rank == 0:
        datamodule.prepare_data()
    datamodule.setup()
    column = log_ratio_column(run_dir)
    classifier = RatioClassifier.load(best_checkpoint(run_dir))
    if any(column not in table.columns for table in datamodule.tables.values()):
        write_log_ratios(trainer, classifier, datamodule, run_dir)
    record = score(config, run_dir, trainer, datamodule)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return metrics, {"trainer": trainer, "classifier": classifier, "datamodule": datamodule, "record": record}


def build_datamodule(data: CachedData | DigitsData, seed: int) -> MixedDataModule:
    """The data module that a configuration names."""
    options = asdict(data)
    name = options.pop("name")
    if name == "digits":
        return DigitsDataModule(**options, seed=seed)
    if name == "cached":
        paths = {side: options.pop(side) for side in ("real", "generated", "real_evaluation", "generated_evaluation")}
        caches: dict[str, Any] = {side: SampleCache(path) if path else None for side, path in paths.items()}
        return MixedDataModule(**caches, **options, seed=seed)
    raise InputError(f"data.name={name} does not go with task=ratio; use digits or cached")


def write_log_ratios(trainer: Trainer, classifier: RatioClassifier, datamodule: MixedDataModule, run_dir: Path) -> None:
    """A log-ratio for every row of every table, each process its own rows."""
    stamp = {"name": "RatioClassifier", "run": run_dir.name, "counts": list(classifier.counts)}
    columns = {"log_ratio": log_ratio_column(run_dir)}
    write_columns(trainer, classifier, datamodule, list(datamodule.tables.values()), datamodule.input, columns, stamp)
