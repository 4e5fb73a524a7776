"""From rows, their features and one log-ratio per generated row to an `EvaluationRecord`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Int64
from pytorch_lightning import Trainer
from torch import Tensor

from lfiw.data.splits import InOrderDataModule, evenly_spaced
from lfiw.data.table import has_float64
from lfiw.errors import InputError
from lfiw.evaluation.balance_record import with_balance
from lfiw.evaluation.class_record import with_classes
from lfiw.evaluation.flattening import Exponents
from lfiw.evaluation.module import Evaluation, FeatureColumn, LogitColumn
from lfiw.evaluation.record import EvaluationRecord
from lfiw.evaluation.recording import evaluation_record
from lfiw.evaluation.scored_rows import ScoredRows
from lfiw.evaluation.scored_weightings import ScoredWeightings, named_weightings, weights_of
from lfiw.evaluation.uncertainty import Columns, beside_scores
from lfiw.evaluation.verdict import with_verdict
from lfiw.features.hog import histograms
from lfiw.metrics.selection import Judge, JudgingRows, choose_by_judges
from lfiw.schemas import Evaluation as Options
from lfiw.schemas import Trainer as TrainerOptions
from lfiw.schemas import check_values
from lfiw.training.trainer import build_trainer
from lfiw.weighting.calibration import Validation
from lfiw.weighting.gate import AUTO, UNIFORM, min_ess_share


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
    check_options(options, weighting)
    if trainer is None or not has_float64(trainer.strategy.root_device):
        trainer = build_trainer(TrainerOptions(accelerator="cpu", devices=1, progress=progress), Path(), [])
    judges = judges_of(judging, features, logits) if judging is not None and options.selection == "kid" else []
    share = min_ess_share(features[0].size, len(rows.generated))
    # every process computes it, and all take the first one's: rounding must not make them differ
    choice = trainer.strategy.broadcast(
        choose_by_judges(judges, validation, ess_share=share, num_scored=len(rows.generated))
    )
    if rows.strata is not None:
        choice = replace(choice, reason=choice.reason + rows.strata.lacking_in_words())
    compared = evenly_spaced(len(rows.generated), options.pair_rows)
    weightings = ScoredWeightings.of(rows, options.weightings, choice, compared, weighting)
    exponents = Exponents.of(options.exponents, weightings.named, rows.log_ratio, compared)
    columns, columns_of_pairs = (
        Columns.of(weightings.weights, exponents.weights, chosen, options.permutations, seed)
        for chosen in (None, compared)
    )
    further = columns_of_pairs.further.new_zeros(len(compared), columns_of_pairs.further.shape[1])
    further[compared] = columns_of_pairs.further

    def evaluate(scored: ScoredRows, convention: str) -> Evaluation:
        """Scores generated rows against all real ones."""
        subsets = [s for s in (scored.real, scored.generated, scored.reference) if s is not None]
        evaluation = Evaluation(
            weights_of(weightings.named, scored, convention),
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

    rows = weightings.rows
    standard = evaluate(rows, "standard")
    blocks = [
        evaluate(rows.block(positions), "paper")
        for positions in (equal_blocks(len(rows.generated), options.paper_block) if options.paper else ())
    ]
    record: list[EvaluationRecord | None] = [None]
    if trainer.is_global_zero:
        extrapolated = [weightings.number_of(name) for name in (UNIFORM, weighting)]
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
            validation,
            beside.uncertainties,
            recommended=weighting,
            flattening=exponents.curves(standard.scores, beside.exponents),
        )
        sides, chosen = (rows.real, rows.generated), weightings.weights[:, weightings.number_of(weighting)]
        if options.balance:
            found = with_balance(found, *sides, features[0].name, chosen, seed=seed)
        if options.by_class and logits:
            found = with_classes(found, *sides, features[0].name, logits[-1].name, chosen, options.pair_rows)
        record = [found]
    shared = trainer.strategy.broadcast(record)[0]  # also waits for the first process
    assert shared is not None
    return with_verdict(shared)


def judges_of(judging: JudgingRows, features: Sequence[FeatureColumn], logits: Sequence[LogitColumn]) -> list[Judge]:
    """Returns the judges: the scored features, the main ones first, and the classes; without others, edges too.

    Pixels, and the columns of vectors as they are, are judges only where there is nothing else. Pixels see brightness
    before shapes, and on samples whose class shares were far off their KID rose when the shares were put right
    (docs/results/strangers.md). Of columns in units of their own the largest numbers alone would judge.
    """
    images = "image" in judging.generated.table.columns
    others = [column for column in features if not column.name.startswith("features/pixels")]
    seeing = others if others or images else list(features)
    judges = [judging.by_features(column.suffix.removeprefix("@") or column.label, column.name) for column in seeing]
    judges += [judging.by_classes(column.name) for column in logits[-1:]]
    if images and len(judges) < 2 and not any(column.name == "features/hog" for column in seeing):
        judges.append(judging.by_images("hog", histograms))
    return judges


def check_options(options: Options, weighting: str) -> None:
    """Raises the InputError that `score` would raise, before hours of extraction and training."""
    names = [*named_weightings(options.weightings), AUTO]
    if weighting not in names:
        raise InputError(f"weighting={weighting}: no such weighting; there are {', '.join(names)}")
    check_values(vars(options), Options, "evaluation.")


def equal_blocks(num: int, size: int) -> list[Int64[Tensor, " _"]]:
    """Positions of as many disjoint blocks of `size` rows as there are, every so-many-th row; all rows, if fewer."""
    count = max(1, num // size)
    return [torch.arange(num)[i::count][:size] for i in range(count)]
