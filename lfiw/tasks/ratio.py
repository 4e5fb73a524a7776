"""The main path: train the ratio classifier, write a log-ratio for every cached sample, score with and without it."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import Logger

from lfiw.data import SampleCache
from lfiw.errors import InputError
from lfiw.evaluation.scoring import check_scores, score
from lfiw.evaluation.showing import show
from lfiw.features.extraction import check_columns_can_be_added
from lfiw.ratio.classifier import RatioEnsemble
from lfiw.ratio.cross_fitting import train_members, write_log_ratios
from lfiw.ratio.digits import DigitsDataModule, SkewedDataModule
from lfiw.ratio.mixed import MixedDataModule
from lfiw.schemas import CachedData, Config, DigitsData, PoliciesData, RealData, SkewedData, ToyData
from lfiw.tasks.extractors import prepare_input
from lfiw.training.processes import by_first_process
from lfiw.training.run_folder import timed
from lfiw.training.trainer import build_trainer

Outcome = tuple[dict[str, float], dict[str, Any]]


def run(config: Config, run_dir: Path, loggers: Sequence[Logger]) -> Outcome:
    """Train, predict, score.

    Returns:
        Metrics by name (the classifier's validation scores and the evaluation's), and the objects that made them:
        trainer, classifier (a `RatioEnsemble` of several), datamodule, record (the content of evaluation.json).
    """
    datamodule = build_datamodule(config.data, config.seed, config.folds)
    trainer = build_trainer(config.trainer, run_dir, loggers)
    with timed(run_dir, "data and input"):
        prepare(config, trainer, datamodule, adds_columns=True)
    with timed(run_dir, "training", resumed=config.resume is not None):
        trained = train_members(config, run_dir, loggers, datamodule)
    metrics, objects = finish(config, run_dir, trainer, datamodule)
    return {**trained, **metrics}, objects


def evaluate(config: Config, run_dir: Path, loggers: Sequence[Logger]) -> Outcome:
    """Score a trained run again, under this configuration's weightings and metrics. Returns as `run`."""
    datamodule = build_datamodule(config.data, config.seed, config.folds)
    trainer = build_trainer(config.trainer, run_dir, loggers)
    prepare(config, trainer, datamodule)
    return finish(config, run_dir, trainer, datamodule)


def prepare(config: Config, trainer: Trainer, datamodule: MixedDataModule, *, adds_columns: bool = False) -> None:
    """Data and the classifier's input; what is asked of the scores is checked first, for the input can take hours.

    Args:
        adds_columns: the tables will have to take new columns; a run that is scored again may find all of them there.
    """
    by_first_process(datamodule.prepare_data)
    datamodule.open_tables()
    if adds_columns:
        check_columns_can_be_added(datamodule.tables.values())
    check_scores(config, datamodule)
    prepare_input(trainer, datamodule, config.features)
    datamodule.setup()


def finish(config: Config, run_dir: Path, trainer: Trainer, datamodule: MixedDataModule) -> Outcome:
    """Log-ratios by the best checkpoints, scores, and what there is to look at."""
    with timed(run_dir, "log-ratios"):
        classifiers, validation = write_log_ratios(config, run_dir, trainer, datamodule)
    with timed(run_dir, "features and scores"):
        record = score(config, run_dir, trainer, datamodule, validation)
    show(config, run_dir, trainer, datamodule, validation, record)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    classifier = classifiers[0] if len(classifiers) == 1 else RatioEnsemble(classifiers)
    return metrics, {"trainer": trainer, "classifier": classifier, "datamodule": datamodule, "record": record.to_json()}


def build_datamodule(
    data: CachedData | DigitsData | SkewedData | ToyData | RealData | PoliciesData, seed: int, folds: int = 1
) -> MixedDataModule:
    """The data module that a configuration names.

    Raises:
        InputError: data of another task, a cache that cannot be read, or no row is left to score.
    """
    if isinstance(data, ToyData | PoliciesData):
        raise InputError(f"data.name={data.name} does not go with task=ratio; use digits, cached or skewed")
    if isinstance(data, RealData):
        raise InputError(f"data.name={data.name} has no generated side: it goes with task=generator")
    options = asdict(data)
    name = options.pop("name")
    scored_apart = options.get("real_evaluation") and (options.get("generated_evaluation") or folds > 1)
    if not data.fractions.evaluation > 0 and not scored_apart:
        raise InputError("data.fractions.evaluation=0 leaves no row to score: give it a share of the rows")
    if name == "digits":
        return DigitsDataModule(**options, seed=seed, folds=folds)
    if name == "skewed":
        table, held_out = options.pop("cache"), options.pop("real_evaluation")
        apart = SampleCache(held_out) if held_out else None
        return SkewedDataModule(SampleCache(table), real_evaluation=apart, **options, seed=seed, folds=folds)
    paths = {side: options.pop(side) for side in ("real", "generated", "real_evaluation", "generated_evaluation")}
    caches: dict[str, Any] = {side: SampleCache(path) if path else None for side, path in paths.items()}
    return MixedDataModule(**caches, **options, seed=seed, folds=folds)
