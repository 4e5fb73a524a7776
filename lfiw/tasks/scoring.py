"""From log-ratio columns to evaluation.json, the tables, the pictures and report.html."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer

from lfiw.data.in_order import InOrderDataModule
from lfiw.data.mixed import REAL, MixedDataModule
from lfiw.errors import InputError
from lfiw.features import Extractor
from lfiw.files import write_json
from lfiw.modules.evaluation import Evaluation, FeatureColumn, LogitColumn
from lfiw.record import Record, evaluation_record, finite_or_null
from lfiw.report import write_report
from lfiw.schemas import Config
from lfiw.selection import UNIFORM, judge
from lfiw.tables import print_evaluation
from lfiw.tasks.columns import extract, extractor_for, log_ratio_column
from lfiw.tasks.showing import draw, track
from lfiw.weights import Weighting


def score(config: Config, run_dir: Path, trainer: Trainer, datamodule: MixedDataModule) -> Record:
    """Score the evaluation rows under every weighting and write what comes out into the run folder.

    Returns:
        The content of evaluation.json.
    """
    options = config.evaluation
    weightings = named_weightings(options.weightings)
    extractors = build_extractors(config, datamodule)
    for extractor in extractors.values():
        extract(trainer, extractor, datamodule)

    column = log_ratio_column(run_dir)
    real, generated = datamodule.splits["evaluation"]
    reference = [] if options.reference == "none" else [datamodule.splits[options.reference][REAL]]
    log_ratio = generated.column(column)
    features = [
        FeatureColumn(e.columns["features"], e.num_features, f"@{name}" if i else "")
        for i, (name, e) in enumerate((name, extractors[name]) for name in options.extractors)
    ]
    logits = logit_column(options.classifier, extractors, options.extractors)
    evaluation = Evaluation(
        log_ratio, weightings, features, logits, with_reference=bool(reference), paper=options.paper
    )
    names = [f.name for f in features] + ([logits.name] if logits else [])
    rows = InOrderDataModule(
        [[real, generated, *reference]],
        list(dict.fromkeys(names)),
        batch_size=datamodule.evaluation_batch_size,
        num_workers=datamodule.num_workers,
    )
    trainer.test(evaluation, datamodule=rows, verbose=False)

    validation = [subset.column(column) for subset in datamodule.splits["validation"]]
    candidates = {name: judge(w, *validation) for name, w in weightings.items() if name != UNIFORM}
    record = evaluation_record(
        evaluation,
        weightings,
        log_ratio,
        candidates,
        extractors,
        experiment=config.experiment,
        run=run_dir.name,
        num_real=len(real),
        num_reference=sum(map(len, reference)),
    )
    if trainer.is_global_zero:
        write_json(run_dir / "evaluation.json", finite_or_null(record))
        print_evaluation(record)
        pictures = {}
        (run_dir / "report.html").unlink(missing_ok=True)  # of an earlier evaluation
        if options.figures:
            pictures = draw(run_dir, record, weightings, log_ratio, datamodule, validation)
            write_report(run_dir / "report.html", record, pictures)
        track(trainer, record, pictures, log_ratio)
    trainer.strategy.barrier()
    return record


def check_scores(config: Config, datamodule: MixedDataModule) -> None:
    """Raises the InputError that `score` would raise after hours of training."""
    named_weightings(config.evaluation.weightings)
    logit_column(config.evaluation.classifier, build_extractors(config, datamodule), config.evaluation.extractors)


def named_weightings(specs: list[Any]) -> dict[str, Weighting]:
    """Name → weighting, the uniform one first.

    Raises:
        InputError: two weightings of one name.
    """
    weightings = {UNIFORM: Weighting(flatten=0.0)}
    for spec in specs:
        if spec.name in weightings:
            raise InputError(f"evaluation.weightings: two are named {spec.name!r} ({UNIFORM} is always there)")
        weightings[spec.name] = Weighting(spec.flatten, spec.clip, spec.smooth)
    return weightings


def build_extractors(config: Config, datamodule: MixedDataModule) -> dict[str, Extractor]:
    """The extractors for FID and KID, and the classifier for IS, by name."""
    if not config.evaluation.extractors:
        raise InputError("evaluation.extractors is empty: name at least one")
    names = dict.fromkeys([*config.evaluation.extractors, config.evaluation.classifier])
    weights = config.features.classifier_weights
    return {name: extractor_for(name, datamodule, weights) for name in names if name}


def logit_column(name: str | None, extractors: Mapping[str, Extractor], scored: list[str]) -> LogitColumn | None:
    """The column for IS, labelled by its classifier where that is not the main extractor.

    Raises:
        InputError: the network has no class logits.
    """
    if name is None:
        return None
    classifier = extractors[name]
    if not classifier.num_classes:
        raise InputError(f"evaluation.classifier={name} has no class logits; use null for no Inception Score")
    return LogitColumn(classifier.columns["logits"], classifier.num_classes, "" if name == scored[0] else f"@{name}")
