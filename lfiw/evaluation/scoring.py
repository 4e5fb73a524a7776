"""From log-ratio columns to evaluation.json."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pytorch_lightning import Trainer
from pytorch_lightning.utilities import rank_zero_only
from rich.progress import Progress
from torch import Tensor

from lfiw.data.splits import GENERATED, REAL, REFERENCE, InOrderDataModule, Subset, evenly_spaced
from lfiw.errors import InputError
from lfiw.evaluation.module import Evaluation, FeatureColumn, LogitColumn, paper_weights
from lfiw.evaluation.record import EXACT, EvaluationRecord, Flattening, Metric
from lfiw.evaluation.recording import evaluation_record, held_out_scores, table_records
from lfiw.evaluation.uncertainty import scored_metrics, uncertainties_of
from lfiw.features import Extractor
from lfiw.ratio.cross_fitting import Validation, log_ratio_column
from lfiw.ratio.mixed import MixedDataModule
from lfiw.schemas import Config
from lfiw.tasks.extractors import build_extractors, extract_all
from lfiw.training.run_folder import EVALUATION, keep_evaluation
from lfiw.weighting.diagnostics import effective_sample_size
from lfiw.weighting.gate import AUTO, UNIFORM, choose, judge, min_ess_share
from lfiw.weighting.weights import Weighting


def score(
    config: Config, run_dir: Path, trainer: Trainer, datamodule: MixedDataModule, validation: Validation
) -> EvaluationRecord:
    """Score the evaluation rows under every weighting and write evaluation.json into the run folder."""
    options = config.evaluation
    extractors = build_extractors(config, datamodule)
    share = min_ess_share(
        extractors[options.extractors[0]].num_features, len(datamodule.splits["evaluation"][GENERATED])
    )
    choice = choose(*validation.calibrated, ess_share=share)
    weightings = {**named_weightings(options.weightings), AUTO: choice.weighting}
    for extractor in extractors.values():
        extract_all(trainer, extractor, datamodule)

    column = log_ratio_column(run_dir)
    real, generated = datamodule.splits["evaluation"]
    reference = [] if options.reference == "none" else [datamodule.splits[options.reference][REAL]]
    features = [
        FeatureColumn(e.columns["features"], e.num_features, f"@{name}" if i else "")
        for i, (name, e) in enumerate((name, extractors[name]) for name in options.extractors)
    ]
    logits = logit_columns(config.metrics.inception_score.classifier, extractors, options.extractors[0])
    if logits and logits[0].suffix:
        main, instead = options.extractors[0], config.metrics.inception_score.classifier
        rank_zero_only(print)(f"the weights of {main} have no class logits: the Inception Score is that of {instead}")

    def evaluate(chosen: Subset, convention: str) -> Evaluation:
        """Score generated rows against all real ones."""
        weights = weights_of(weightings, chosen.column(column), datamodule.exact_log_ratio(chosen), convention)
        evaluation = Evaluation(
            weights,
            features,
            logits,
            with_reference=bool(reference),
            convention=convention,
            neighbours=options.neighbours if convention == "standard" else 0,
            pairs={
                side: evenly_spaced(len(subset), options.pair_rows)
                for side, subset in zip((REAL, GENERATED, REFERENCE), (real, chosen, *reference), strict=False)
            },
        )
        names = dict.fromkeys([*(f.name for f in features), *(c.name for c in logits)])
        rows = InOrderDataModule(
            lambda: [[real, chosen, *reference]],
            list(names),
            batch_size=datamodule.evaluation_batch_size,
            num_workers=datamodule.num_workers,
        )
        trainer.test(evaluation, datamodule=rows, verbose=False)
        return evaluation

    standard = evaluate(generated, "standard")
    blocks = [evaluate(b, "paper") for b in equal_blocks(generated, options.paper_block)] if options.paper else []
    record: list[EvaluationRecord | None] = [None]
    if trainer.is_global_zero:
        log_ratio, progress = generated.column(column), config.trainer.progress
        extrapolated = [list(weightings).index(name) for name in (UNIFORM, config.weighting)]
        found = evaluation_record(
            standard,
            blocks,
            weightings,
            log_ratio,
            {name: judge(w, *validation.calibrated) for name, w in weightings.items() if name != UNIFORM},
            uncertainties_of(standard, real, generated, options, extrapolated, seed=config.seed, progress=progress),
            extractors,
            choice=choice,
            classifier=held_out_scores(validation.raw, validation.calibrated),
            flattening=flattening_curves(
                standard, real, generated, log_ratio, weightings, options.exponents, progress=progress
            ),
            config=config,
            run=run_dir.name,
            num_real=len(real),
            num_reference=sum(map(len, reference)),
            tables=table_records(datamodule),
        )
        keep_evaluation(run_dir, found.to_json())
        found.write(run_dir / EVALUATION)
        record = [found]
    shared = trainer.strategy.broadcast(record)[0]  # also waits for the first process
    assert shared is not None
    return shared


def weights_of(
    weightings: Mapping[str, Weighting],
    log_ratio: Float[Tensor, " n"],
    exact: Float[Tensor, " n"] | None,
    convention: str,
) -> Float[Tensor, "n k"]:
    """One column a weighting; the exact weights, where the data set knows them, in the last one."""
    of = paper_weights if convention == "paper" else Weighting.__call__
    columns = [of(w, log_ratio) for w in weightings.values()]
    return torch.stack(columns if exact is None else [*columns, torch.softmax(exact, 0)], dim=1)


def check_scores(config: Config, datamodule: MixedDataModule) -> None:
    """Raises the InputError that `score` would raise after hours of extraction and training.

    Args:
        datamodule: with its tables open.
    """
    names = [*named_weightings(config.evaluation.weightings), AUTO]
    if config.weighting not in names:
        raise InputError(f"weighting={config.weighting}: no such weighting; there are {', '.join(names)}")
    if config.evaluation.permutations < 0 or config.evaluation.permutations == 1:
        raise InputError(f"evaluation.permutations={config.evaluation.permutations} must be 0 or at least 2")
    for alpha in config.evaluation.exponents:
        if not (math.isfinite(alpha) and alpha >= 0):
            raise InputError(f"evaluation.exponents: {alpha} must be finite and ≥ 0")
    if config.evaluation.neighbours < 0:
        raise InputError(f"evaluation.neighbours={config.evaluation.neighbours} must be at least 0")
    if config.evaluation.pair_rows < 0 or config.evaluation.pair_rows == 1:
        raise InputError(f"evaluation.pair_rows={config.evaluation.pair_rows} must be 0 or at least 2")
    if config.evaluation.paper_block < 1:
        raise InputError(f"evaluation.paper_block={config.evaluation.paper_block} must be at least 1")
    extractors = build_extractors(config, datamodule)
    logit_columns(config.metrics.inception_score.classifier, extractors, config.evaluation.extractors[0])


def named_weightings(specs: list[Any]) -> dict[str, Weighting]:
    """Name → weighting, the uniform one first.

    Raises:
        InputError: two weightings of one name.
    """
    weightings = {UNIFORM: Weighting(flatten=0.0)}
    for spec in specs:
        if spec.name in weightings or spec.name in (AUTO, EXACT):
            raise InputError(
                f"evaluation.weightings: two are named {spec.name!r} ({UNIFORM}, {AUTO} and {EXACT} are always taken)"
            )
        weightings[spec.name] = Weighting(spec.flatten, spec.clip, spec.smooth)
    return weightings


def logit_columns(classifier: str | None, extractors: Mapping[str, Extractor], main: str) -> list[LogitColumn]:
    """The columns for IS: those of the main extractor, if it has logits, and of the classifier, labelled by its name.

    Raises:
        InputError: the classifier has no class logits.
    """
    if classifier is not None and not extractors[classifier].num_classes:
        raise InputError(
            f"metrics.inception_score.classifier={classifier} has no class logits; use null for those of {main}, if it "
            "has any"
        )
    named = {name: extractors[name] for name in (main, classifier) if name}
    return [
        LogitColumn(e.columns["logits"], e.num_classes, "" if name == main else f"@{name}")
        for name, e in named.items()
        if e.num_classes
    ]


def equal_blocks(rows: Subset, size: int) -> list[Subset]:
    """As many disjoint blocks of `size` rows as there are, every so-many-th row; all rows, if they are fewer."""
    count = max(1, len(rows) // size)
    return [Subset(rows.table, rows.rows[i::count][:size]) for i in range(count)]


def flattening_curves(
    evaluation: Evaluation,
    real: Subset,
    generated: Subset,
    log_ratio: Float[Tensor, " n"],
    weightings: Mapping[str, Weighting],
    exponents: Sequence[float],
    *,
    progress: bool,
) -> Flattening | None:
    """ESS and every standard score of ŵ^α; none without exponents.

    Exponents that the evaluation has scored already are not scored again. The curves are shown; nothing is chosen by
    them, for they are of the rows that scores are reported on.

    Args:
        evaluation: after its test, by the standard definitions.
        real, generated: the evaluation rows; log_ratio: of the generated ones.
        weightings: those that the evaluation has scored.
        exponents: α ≥ 0.
        progress: show a progress bar.
    """
    if not exponents:
        return None
    grid = sorted(set(exponents))
    known = {w.flatten: i for i, w in enumerate(weightings.values()) if w == Weighting(w.flatten)}
    lacking = [alpha for alpha in grid if alpha not in known]
    weights = [Weighting(alpha)(log_ratio) for alpha in grid]
    scores = {}
    scored_ones = scored_metrics(evaluation, real, generated)
    with Progress(transient=True, disable=not (progress and lacking)) as bar:
        task = bar.add_task("flattening", total=len(scored_ones))
        for name, make in scored_ones.items():
            bar.update(task, description=f"flattening: {name}")
            found = {alpha: evaluation.scores[name][i] for alpha, i in known.items()}
            if lacking:
                columns = torch.stack([weights[grid.index(alpha)] for alpha in lacking], dim=1)
                scored = make()
                found |= dict(zip(lacking, scored.scores(scored.of_rows(columns)).tolist(), strict=True))
            scores[Metric.named(name)] = tuple(found[alpha] for alpha in grid)
            bar.advance(task)
    return Flattening(tuple(grid), tuple(effective_sample_size(w).item() for w in weights), scores)
