"""From log-ratio columns to evaluation.json, the tables, the pictures and report.html."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from torch import Tensor

from lfiw import figures, tracking
from lfiw.data.in_order import InOrderDataModule
from lfiw.data.mixed import GENERATED, REAL, MixedDataModule
from lfiw.data.splits import Subset
from lfiw.diagnostics import effective_sample_size
from lfiw.errors import InputError
from lfiw.features import Extractor, build_extractor
from lfiw.files import write_json
from lfiw.modules.evaluation import Evaluation, FeatureColumn, LogitColumn
from lfiw.modules.extraction import FeatureExtraction
from lfiw.pareto import pareto_k
from lfiw.report import write_report
from lfiw.schemas import Config
from lfiw.selection import UNIFORM, Candidate, judge, pareto_k_threshold, recommend
from lfiw.tables import print_evaluation, score_rows, shown_weightings
from lfiw.tasks.columns import log_ratio_column, write_columns
from lfiw.version import __version__
from lfiw.weights import Weighting


def score(config: Config, run_dir: Path, trainer: Trainer, datamodule: MixedDataModule) -> dict[str, Any]:
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
    record = {
        "experiment": config.experiment,
        "version": __version__,
        "run": run_dir.name,
        "num_real": len(real),
        "num_generated": len(generated),
        "num_reference": sum(map(len, reference)),
        "extractors": [{"name": name, "sha256": e.sha256} for name, e in extractors.items()],
        "reference": {name: {"value": values[0], "se": None} for name, values in evaluation.reference.items()},
        "recommended": (best := recommend(candidates)),
        "reason": reason(best, candidates),
        "pareto_k_threshold": pareto_k_threshold(len(generated)),
        "real_class_proportions": evaluation.real_proportions,
        "weightings": weighting_records(weightings, log_ratio, evaluation, candidates),
    }
    if trainer.is_global_zero:
        write_json(run_dir / "evaluation.json", finite_or_null(record))
        print_evaluation(record)
        pictures = draw(run_dir, record, weightings, generated, datamodule, validation) if options.figures else {}
        if options.figures:
            write_report(run_dir / "report.html", record, pictures)
        track(trainer, record, pictures, log_ratio)
    trainer.strategy.barrier()
    return record


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
    real, _ = datamodule.splits["evaluation"]
    shape = real.table.column("image").shape
    weights = config.features.classifier_weights or getattr(datamodule, "classifier_weights", None)
    if not config.evaluation.extractors:
        raise InputError("evaluation.extractors is empty: name at least one")
    names = dict.fromkeys([*config.evaluation.extractors, config.evaluation.classifier])
    return {name: build_extractor(name, shape, classifier_weights=weights) for name in names if name}


def extract(trainer: Trainer, extractor: Extractor, datamodule: MixedDataModule) -> None:
    """Compute the extractor's columns in the tables that lack them."""
    missing = [table for table in datamodule.tables.values() if not has_columns(table, extractor)]
    if missing:
        module = FeatureExtraction(extractor)
        write_columns(trainer, module, datamodule, missing, "image", extractor.columns, extractor.stamp)


def has_columns(table: Any, extractor: Extractor) -> bool:
    names = extractor.columns.values()
    return all(name in table.columns and table.column(name).stamp == extractor.stamp for name in names)


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


def weighting_records(
    weightings: Mapping[str, Weighting], log_ratio: Tensor, evaluation: Evaluation, candidates: Mapping[str, Candidate]
) -> list[dict[str, Any]]:
    """One record a weighting, as evaluation.json has them."""
    records = []
    for i, (name, w) in enumerate(weightings.items()):
        weights = w(log_ratio)
        metrics = {
            metric: {"value": v[i], "se": None, "difference": {"value": v[i] - v[0], "se": None}}
            for metric, v in evaluation.scores.items()
        }
        candidate = candidates.get(name)
        records.append(
            {
                "name": name,
                "flatten": w.flatten,
                "clip": w.clip,
                "smooth": w.smooth,
                "ess": effective_sample_size(weights).item(),
                "pareto_k": pareto_k(Weighting(w.flatten, w.clip).log_weights(log_ratio)),
                "max_weight": weights.max().item(),
                "kl_gain": {"value": candidate.kl_gain, "se": candidate.standard_error} if candidate else None,
                "metrics": metrics,
                "class_proportions": evaluation.proportions[i] if evaluation.proportions else [],
            }
        )
    return records


def reason(best: str, candidates: Mapping[str, Candidate]) -> str:
    """Why that weighting, in a sentence."""
    if best != UNIFORM:
        c = candidates[best]
        return (
            f"on validation rows it brings the model {c.kl_gain:.3f} ± {c.standard_error:.3f} nats nearer to the data "
            f"(KL gain; ESS {c.ess:,.0f}, k̂ {c.pareto_k:.2f})"
        )
    if not candidates:
        return "no other weighting was asked for"
    if not any(c.eligible for c in candidates.values()):
        return "every weighting rests on too few samples (k̂ or ESS), so their gain cannot be believed"
    return "no weighting has a KL gain that is above zero at 95 % confidence on validation rows"


def draw(
    run_dir: Path,
    record: dict[str, Any],
    weightings: Mapping[str, Weighting],
    generated: Subset,
    datamodule: MixedDataModule,
    validation: list[Tensor],
) -> dict[str, Path]:
    """The pictures of an evaluation: heading → PNG file."""
    log_ratio = generated.column(log_ratio_column(run_dir))
    name = shown_weightings(record)[min(1, len(weightings) - 1)]
    shown = next(w for w in record["weightings"] if w["name"] == name)
    pictures = {
        "Weights": figures.weight_histogram(
            weightings[name].log_weights(log_ratio), shown["ess"], shown["pareto_k"], run_dir / "weights.png"
        )
    }
    order = log_ratio.argsort()
    real = datamodule.splits["evaluation"][REAL]
    groups = [
        ("lowest weight", generated.read(order[: figures.SHEET], ["image"])["image"]),
        ("highest weight", generated.read(order.flip(0)[: figures.SHEET], ["image"])["image"]),
        ("real", real.read(torch.arange(min(figures.SHEET, len(real))), ["image"])["image"]),
    ]
    pictures["Samples"] = figures.contact_sheet(groups, run_dir / "samples.png")
    if record["real_class_proportions"]:
        names = shown_weightings(record)
        shares = [(w["name"], w["class_proportions"]) for w in record["weightings"] if w["name"] in names]
        file = run_dir / "class_proportions.png"
        pictures["Class proportions"] = figures.class_proportions(shares, record["real_class_proportions"], file)
    is_real = torch.cat([torch.full((len(x),), i == REAL) for i, x in enumerate(validation)])
    odds = math.log(len(validation[REAL]) / len(validation[GENERATED]))
    probability = torch.sigmoid(torch.cat(validation) + odds)
    pictures["Calibration"] = figures.reliability(probability, is_real, run_dir / "calibration.png")
    return pictures


def track(trainer: Trainer, record: dict[str, Any], pictures: Mapping[str, Path], log_ratio: Tensor) -> None:
    """Send the evaluation to the run's loggers."""
    scalars = {f"test/{w['name']}/ess": w["ess"] for w in record["weightings"]}
    for w in record["weightings"]:
        scalars |= {f"test/{w['name']}/{metric}": kept["value"] for metric, kept in w["metrics"].items()}
    trainer.callback_metrics.update({name: torch.tensor(value) for name, value in scalars.items()})
    for logger in trainer.loggers:
        logger.log_metrics(scalars, step=trainer.global_step)
    tracking.log_pictures(trainer.loggers, {f"evaluation/{file.stem}": file for file in pictures.values()})
    tracking.log_table(trainer.loggers, "evaluation/scores", *score_rows(record))
    tracking.log_histogram(trainer.loggers, "evaluation/log_ratio", log_ratio.tolist())


def finite_or_null(value: Any) -> Any:
    """JSON has no nan."""
    if isinstance(value, dict):
        return {name: finite_or_null(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [finite_or_null(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
