"""The main path: train the ratio classifier, write a log-ratio for every cached sample, score with and without it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from lfiw.data.splits import REAL, Subset
from lfiw.errors import InputError
from lfiw.evaluation.record import EvaluationRecord, ExtractorRecord
from lfiw.evaluation.recording import table_records
from lfiw.evaluation.report import show
from lfiw.evaluation.scored_rows import ScoredRows
from lfiw.evaluation.scoring import check_options, score
from lfiw.evaluation.verdict import with_verdict
from lfiw.features.extraction import check_columns_can_be_added
from lfiw.features.extractor import Extractor
from lfiw.metrics.selection import JudgingRows
from lfiw.ratio.classifier import by_input
from lfiw.ratio.cross_fitting import log_ratio_column, train_members, write_log_ratios
from lfiw.ratio.mixed import MixedDataModule
from lfiw.schemas import Config
from lfiw.tasks.inputs import (
    build_datamodule,
    build_extractors,
    extract_all,
    feature_columns,
    logit_columns,
    prepare_inputs,
)
from lfiw.tasks.strata import check_strata, class_column, validation_strata
from lfiw.training.processes import by_first_process
from lfiw.training.run_folder import EVALUATION, keep_evaluation, timed
from lfiw.training.trainer import build_trainer
from lfiw.weighting.calibration import Validation

Outcome = tuple[dict[str, float], dict[str, Any]]


def run(config: Config, run_dir: Path, loggers: Sequence[Logger]) -> Outcome:
    """Train, predict, score.

    Returns:
        Metrics by name (the classifier's validation scores and the evaluation's), and the objects that made them:
        trainer, classifier (a `RatioEnsemble` of several; of several inputs, column → classifier), datamodule, record
        (the content of evaluation.json).
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
    prepare_inputs(trainer, datamodule, config.features, config.join)
    datamodule.setup()


def finish(config: Config, run_dir: Path, trainer: Trainer, datamodule: MixedDataModule) -> Outcome:
    """Log-ratios by the best checkpoints, scores, and what there is to look at."""
    with timed(run_dir, "log-ratios"):
        classifiers, validation = write_log_ratios(config, run_dir, trainer, datamodule)
    with timed(run_dir, "features and scores"):
        extractors = build_extractors(config, datamodule)
        for extractor in extractors.values():
            extract_all(trainer, extractor, datamodule)
        rows = scored_rows(config, datamodule, log_ratio_column(run_dir))
        classes = class_column(config.evaluation.strata, extractors, datamodule)
        if classes is not None:
            rows = replace(rows, strata=classes.strata(rows.generated))
            validation = replace(validation, strata=validation_strata(classes, datamodule, validation))
        record = evaluation_of(config, run_dir, trainer, datamodule, extractors, rows, validation)
        if classes is not None:
            record = replace(record, strata=classes.record())
        if trainer.is_global_zero:
            keep_evaluation(run_dir, record.to_json())
            record.write(run_dir / EVALUATION)
        trainer.strategy.barrier()
    show(
        record,
        rows,
        validation,
        run_dir,
        trainer,
        figures=config.evaluation.figures,
        training_loss=config.loss.name == "logistic",  # others are no log-losses
        configuration=yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True),
        seed=config.seed,
        progress=config.trainer.progress,
    )
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    by_column = by_input(classifiers)
    classifier = by_column if len(by_column) > 1 else next(iter(by_column.values()))
    return metrics, {"trainer": trainer, "classifier": classifier, "datamodule": datamodule, "record": record.to_json()}


def scored_rows(config: Config, datamodule: MixedDataModule, column: str) -> ScoredRows:
    """The hand-over: evaluation rows, and the column of log-ratios of the generated ones."""
    real, generated = datamodule.splits["evaluation"]
    reference = config.evaluation.reference
    return ScoredRows(
        real,
        generated,
        generated.column(column),
        exact=datamodule.exact_log_ratio(generated),
        reference=None if reference == "none" else datamodule.splits[reference][REAL],
    )


def evaluation_of(
    config: Config,
    run_dir: Path,
    trainer: Trainer,
    datamodule: MixedDataModule,
    extractors: Mapping[str, Extractor],
    rows: ScoredRows,
    validation: Validation,
) -> EvaluationRecord:
    """Scores the rows, whose tables hold the extractors' features."""
    options, classifier = config.evaluation, config.metrics.inception_score.classifier
    logits = logit_columns(classifier, extractors, options.extractors[0])
    if logits and logits[0].suffix:
        main = options.extractors[0]
        rank_zero_only(print)(
            f"the weights of {main} have no class logits: the Inception Score is that of {classifier}"
        )
    seen = list(datamodule.seen)
    if options.strata in extractors:  # whose classes' shares the weights have by construction
        seen.append(extractors[options.strata].columns["features"])
    record = score(
        rows,
        validation,
        feature_columns(extractors, options.extractors, seen),
        logits,
        options=options,
        judging=judging_rows(datamodule, validation),
        weighting=config.weighting,
        trainer=trainer,
        seed=config.seed,
        progress=config.trainer.progress,
        **datamodule.reading,
    )
    record = replace(
        record,
        experiment=config.experiment,
        run=run_dir.name,
        extractors=tuple(ExtractorRecord(e.name, e.key, e.sha256) for e in extractors.values()),
        calibration=config.calibration,
        folds=config.folds,
        ensemble=config.ensemble,
        tables=table_records(datamodule.tables),
    )
    return with_verdict(record)  # by the extractors' names


def judging_rows(datamodule: MixedDataModule, validation: Validation) -> JudgingRows | None:
    """Returns the validation rows by which the gate judges."""
    if validation.rows is None or datamodule.real is None or datamodule.generated is None:
        return None
    of_real, of_generated = validation.rows
    return JudgingRows.of(
        Subset(datamodule.real, of_real),
        Subset(datamodule.generated, of_generated),
        validation.calibrated[1],
        validation.strata[1] if validation.strata is not None else None,
    )


def check_scores(config: Config, datamodule: MixedDataModule) -> None:
    """Raises the InputError that scoring would raise after hours of extraction and training.

    Args:
        datamodule: with its tables open.
    """
    check_options(config.evaluation, config.weighting)
    extractors = build_extractors(config, datamodule)
    check_strata(config.evaluation.strata, extractors, datamodule)
    for spec in config.evaluation.weightings:
        if spec.stratify and config.evaluation.strata == "none":
            raise InputError(
                f"evaluation.weightings: {spec.name!r} has stratify; name the classes by evaluation.strata"
            )
    logit_columns(config.metrics.inception_score.classifier, extractors, config.evaluation.extractors[0])
