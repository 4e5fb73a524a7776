"""From rows, their features and one log-ratio per generated row to an `EvaluationRecord`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from pytorch_lightning import Trainer
from torch import Tensor

from lfiw.data.splits import InOrderDataModule, evenly_spaced
from lfiw.data.table import has_float64
from lfiw.errors import InputError
from lfiw.evaluation.balance_record import with_balance
from lfiw.evaluation.class_record import with_classes
from lfiw.evaluation.module import Evaluation, FeatureColumn, LogitColumn, paper_weights
from lfiw.evaluation.record import EXACT, EvaluationRecord, Flattening, Metric
from lfiw.evaluation.recording import evaluation_record, held_out_scores
from lfiw.evaluation.scored_rows import ScoredRows
from lfiw.evaluation.uncertainty import Columns, beside_scores
from lfiw.evaluation.verdict import with_verdict
from lfiw.features.hog import histograms
from lfiw.metrics.selection import Judge, JudgingRows, choose_by_judges
from lfiw.metrics.weighted_metric import carried_by_one_row
from lfiw.schemas import Evaluation as Options
from lfiw.schemas import Trainer as TrainerOptions
from lfiw.schemas import check_values
from lfiw.training.trainer import build_trainer
from lfiw.weighting.calibration import Validation
from lfiw.weighting.diagnostics import effective_sample_size
from lfiw.weighting.gate import AUTO, CANNOT, UNIFORM, Choice, in_words, judge_all, min_ess_share
from lfiw.weighting.weights import Weighting


def score(
    rows: ScoredRows,
    validation: Validation,
    features: Sequence[FeatureColumn],
    logits: Sequence[LogitColumn] = (),
    *,
    options: Options | None = None,
    judging: JudgingRows | None = None,
    weighting: str = AUTO,
    trainer: Trainer | None = None,
    batch_size: int = 1000,
    num_workers: int = 0,
    seed: int = 0,
    progress: bool = False,
) -> EvaluationRecord:
    """Scores the generated rows under every weighting; the gate chooses one of them on the validation rows.

        rows = ScoredRows.of_tensors({"features": f_real}, {"features": f_generated}, log_ratio)
        record = score(rows, Validation(sides, sides), [FeatureColumn("features", f_real.shape[1])])

    Args:
        validation: log-ratios of real and generated rows that neither trained nor calibrated the classifier. If it and
            `rows` have classes, the gate's weightings match their shares.
        features: columns to score in; the first is the main one.
        logits: columns of class logits, for the Inception Score and class proportions.
        options: which weightings and scores. If None, the defaults.
        judging: validation rows with the columns that are scored, by whose KID the gate chooses. If None, it chooses by
            the log-ratios' KL gain.
        weighting: the name of the one to recommend; `auto` leaves it to the gate.
        trainer: whose processes share the rows; the scores' sums are float64 on its device. If None, or if that has no
            float64 (Apple's GPUs), this process scores all of them on the CPU.
        batch_size: rows per step and process.
        seed: of permutations and subsets.

    Returns:
        The record, the same in every process; it does not yet say of which run it is.

    Raises:
        InputError: an option has no such value, or one scored row carries all weight of the recommended weighting. Of
            another weighting, that leaves it out of the record.
    """
    options = options or Options()
    if trainer is None or not has_float64(trainer.strategy.root_device):
        trainer = build_trainer(TrainerOptions(accelerator="cpu", devices=1, progress=progress), Path(), [])
    share = min_ess_share(features[0].size, len(rows.generated))
    judges = judges_of(judging, features, logits) if judging is not None and options.selection == "kid" else []
    # every process computes it, and all take the first one's: rounding must not make them differ
    choice = trainer.strategy.broadcast(
        choose_by_judges(judges, validation, ess_share=share, num_scored=len(rows.generated))
    )
    if rows.strata is not None:
        choice = replace(choice, reason=choice.reason + rows.strata.lacking_in_words())
    check_options(options, weighting)
    compared = evenly_spaced(len(rows.generated), options.pair_rows)
    weightings = {**named_weightings(options.weightings), AUTO: choice.weighting}
    weights = weights_of(weightings, rows, "standard")
    lost = without_spread(weights, compared)
    auto = list(weightings).index(AUTO)
    if lost[auto]:
        reason = f"one scored row carries all weight of {in_words(choice.weighting)}"
        choice = Choice(weightings[UNIFORM], CANNOT, reason)
        weightings[AUTO], weights[:, auto], lost[auto] = choice.weighting, weights[:, 0], False
    names = [*weightings, EXACT][: weights.shape[1]]
    left_out = [name for name, is_lost in zip(names, lost.tolist(), strict=True) if is_lost]
    if weighting in left_out:
        raise InputError(f"weighting={weighting}: one scored row carries all of its weight: flatten or clip it")
    weights = weights[:, ~lost]
    weightings = {name: w for name, w in weightings.items() if name not in left_out}
    if EXACT in left_out:
        rows = replace(rows, exact=None)

    curve = with_spread(options.exponents, rows.log_ratio, compared)
    lacking = lacking_exponents(weightings, curve)
    exponents = powers_of(lacking, rows.log_ratio)
    columns, columns_of_pairs = (
        Columns.of(weights, exponents, chosen, options.permutations, seed) for chosen in (None, compared)
    )
    further = columns_of_pairs.further.new_zeros(len(compared), columns_of_pairs.further.shape[1])
    further[compared] = columns_of_pairs.further

    def evaluate(scored: ScoredRows, convention: str) -> Evaluation:
        """Scores generated rows against all real ones."""
        subsets = [s for s in (scored.real, scored.generated, scored.reference) if s is not None]
        evaluation = Evaluation(
            weights_of(weightings, scored, convention),
            features,
            logits,
            with_reference=scored.reference is not None,
            convention=convention,
            neighbours=options.neighbours if convention == "standard" else 0,
            further=further if convention == "standard" else None,
            pairs={side: evenly_spaced(len(subset), options.pair_rows) for side, subset in enumerate(subsets)},
        )
        names = list(dict.fromkeys([*(f.name for f in features), *(c.name for c in logits)]))
        passes = InOrderDataModule(lambda: [subsets], names, batch_size=batch_size, num_workers=num_workers)
        trainer.test(evaluation, datamodule=passes, verbose=False)
        return evaluation

    standard = evaluate(rows, "standard")
    blocks = [
        evaluate(rows.block(positions), "paper")
        for positions in (equal_blocks(len(rows.generated), options.paper_block) if options.paper else ())
    ]
    record: list[EvaluationRecord | None] = [None]
    if trainer.is_global_zero:
        extrapolated = [list(weightings).index(name) for name in (UNIFORM, weighting)]
        beside = beside_scores(
            standard,
            rows.real,
            rows.generated,
            columns,
            columns_of_pairs,
            options,
            extrapolated,
            seed=seed,
            progress=progress,
        )
        found = evaluation_record(
            standard,
            blocks,
            weightings,
            rows,
            dict(
                zip(
                    list(weightings)[1:],
                    judge_all(list(weightings.values())[1:], *validation.calibrated, strata=validation.strata),
                    strict=True,
                )
            ),
            beside.uncertainties,
            choice=choice,
            recommended=weighting,
            classifier=held_out_scores(validation.raw, validation.calibrated),
            flattening=flattening_curves(standard, beside.exponents, rows.log_ratio, weightings, curve),
            seen=[column.suffix.removeprefix("@") for column in features if column.seen],
            left_out=left_out,
        )
        sides, chosen = (rows.real, rows.generated), weights[:, list(weightings).index(weighting)]
        if options.balance:
            found = with_balance(found, *sides, features[0].name, chosen, seed=seed)
        if options.by_class and logits:
            found = with_classes(found, *sides, features[0].name, logits[-1].name, chosen, options.pair_rows)
        record = [found]
    shared = trainer.strategy.broadcast(record)[0]  # also waits for the first process
    assert shared is not None
    return with_verdict(shared)


def without_spread(weights: Float[Tensor, "n k"], compared: Bool[Tensor, " n"]) -> Bool[Tensor, " k"]:
    """Returns which weights have no score: one row has all of them, among all rows or among those that KID compares."""
    lost = carried_by_one_row(weights)
    some = weights[compared].sum(dim=0) > 0  # few rows may have no weight at all
    lost[some] |= carried_by_one_row(weights[compared][:, some])
    return lost | ~some


def powers_of(exponents: Sequence[float], log_ratio: Float[Tensor, " n"]) -> Float[Tensor, "n k"]:
    """Weights ŵ^α, one column per exponent."""
    columns = [Weighting(alpha)(log_ratio) for alpha in exponents]
    return torch.stack(columns, dim=1) if columns else torch.empty(len(log_ratio), 0, dtype=torch.float64)


def with_spread(
    exponents: Sequence[float], log_ratio: Float[Tensor, " n"], compared: Bool[Tensor, " n"]
) -> list[float]:
    """Returns the exponents whose weights have scores."""
    lost = without_spread(powers_of(exponents, log_ratio), compared)
    return [alpha for alpha, is_lost in zip(exponents, lost.tolist(), strict=True) if not is_lost]


def judges_of(judging: JudgingRows, features: Sequence[FeatureColumn], logits: Sequence[LogitColumn]) -> list[Judge]:
    """Returns the judges: the scored features, the main ones first, and the classes; without others, edges too.

    Pixels are judges only where there is nothing else: they see brightness before shapes, and on samples whose class
    shares were far off their KID rose when the shares were put right (docs/results/strangers.md).
    """
    images = "image" in judging.generated.table.columns
    seeing = [column for column in features if not (images and column.name.startswith("features/pixels"))]
    judges = [judging.by_features(column.suffix.removeprefix("@") or column.label, column.name) for column in seeing]
    judges += [judging.by_classes(column.name) for column in logits[-1:]]
    if images and len(judges) < 2 and not any(column.name == "features/hog" for column in seeing):
        judges.append(judging.by_images("hog", histograms))
    return judges


def weights_of(weightings: Mapping[str, Weighting], rows: ScoredRows, convention: str) -> Float[Tensor, "n k"]:
    """One column per weighting; the exact weights, where the data set knows them, in the last one."""
    of = paper_weights if convention == "paper" else Weighting.__call__
    columns = [of(w, rows.log_ratio, rows.strata) for w in weightings.values()]
    return torch.stack(columns if rows.exact is None else [*columns, torch.softmax(rows.exact, 0)], dim=1)


def check_options(options: Options, weighting: str) -> None:
    """Raises the InputError that `score` would raise, before hours of extraction and training."""
    names = [*named_weightings(options.weightings), AUTO]
    if weighting not in names:
        raise InputError(f"weighting={weighting}: no such weighting; there are {', '.join(names)}")
    check_values(vars(options), Options, "evaluation.")


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
        weightings[spec.name] = Weighting(spec.flatten, spec.clip, spec.smooth, stratify=spec.stratify)
    return weightings


def equal_blocks(num: int, size: int) -> list[Int64[Tensor, " _"]]:
    """Positions of as many disjoint blocks of `size` rows as there are, every so-many-th row; all rows, if fewer."""
    count = max(1, num // size)
    return [torch.arange(num)[i::count][:size] for i in range(count)]


def known_exponents(weightings: Mapping[str, Weighting]) -> dict[float, int]:
    """Exponent → number of the weighting that is that power of the ratio, and nothing else."""
    return {w.flatten: i for i, w in enumerate(weightings.values()) if w == Weighting(w.flatten)}


def lacking_exponents(weightings: Mapping[str, Weighting], exponents: Sequence[float]) -> list[float]:
    """Exponents of the curve that no weighting has, ascending."""
    return sorted(set(exponents) - set(known_exponents(weightings)))


def flattening_curves(
    evaluation: Evaluation,
    beside: Mapping[str, Sequence[float]],
    log_ratio: Float[Tensor, " n"],
    weightings: Mapping[str, Weighting],
    exponents: Sequence[float],
) -> Flattening | None:
    """ESS and every standard score of ŵ^α; none without exponents.

    The curves are shown; nothing is chosen by them, for they are of the rows that scores are reported on.

    Args:
        evaluation: after its test, by the standard definitions.
        beside: every metric of the curves → scores of the exponents that no weighting has.
        log_ratio: of the generated evaluation rows.
        weightings: those that the evaluation has scored.
        exponents: α ≥ 0.
    """
    if not exponents:
        return None
    grid, known = sorted(set(exponents)), known_exponents(weightings)
    lacking = lacking_exponents(weightings, exponents)
    sizes = [effective_sample_size(Weighting(alpha)(log_ratio)).item() for alpha in grid]
    scores = {}
    for name, of_lacking in beside.items():
        found = {alpha: evaluation.scores[name][i] for alpha, i in known.items()}
        found |= dict(zip(lacking, of_lacking, strict=True))
        scores[Metric.named(name)] = tuple(found[alpha] for alpha in grid)
    return Flattening(tuple(grid), tuple(sizes), scores)
