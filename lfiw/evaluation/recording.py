"""What an evaluation found, as the record that evaluation.json holds."""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lfiw.data.table import Table
from lfiw.evaluation.module import Evaluation
from lfiw.evaluation.record import (
    EXACT,
    CalibrationScores,
    ClassifierRecord,
    Difference,
    Estimate,
    EvaluationRecord,
    ExtractorRecord,
    Flattening,
    Metric,
    Score,
    TableRecord,
    WeightingRecord,
)
from lfiw.evaluation.scored_rows import ScoredRows
from lfiw.evaluation.scored_weightings import ScoredWeightings
from lfiw.evaluation.uncertainty import Uncertainty
from lfiw.version import __version__
from lfiw.weighting.calibration import Validation, reliability
from lfiw.weighting.diagnostics import (
    balanced_accuracy,
    balanced_log_loss,
    effective_sample_size,
    mean_and_error,
    mean_one,
    top_share,
    two_sample_test,
)
from lfiw.weighting.gate import AUTO, Candidate, judge_all, pareto_k_threshold
from lfiw.weighting.weights import Weighting, pareto_k

CHASM = 0.95  # balanced accuracy from which on the sides barely overlap, and the ratio of few samples carries all


def held_out_scores(raw: tuple[Tensor, Tensor], calibrated: tuple[Tensor, Tensor]) -> ClassifierRecord:
    """Balanced accuracy, two-sample test, density chasm and calibration.

    Args:
        raw: log-ratios of real and of generated rows that neither trained nor calibrated anything, as trained.
        calibrated: of the same rows, recalibrated.
    """
    accuracy = balanced_accuracy(*calibrated).item()
    return ClassifierRecord(
        num_real=len(raw[0]),
        num_generated=len(raw[1]),
        accuracy=accuracy,
        two_sample_p_value=two_sample_test(*calibrated).item(),
        density_chasm=accuracy >= CHASM,
        raw=calibration_scores(*raw),
        calibrated=calibration_scores(*calibrated),
    )


def calibration_scores(real: Tensor, generated: Tensor) -> CalibrationScores:
    """Log-loss, expected and maximum calibration error, and the two means, of log-ratios."""
    log_ratio = torch.cat([real, generated])
    curve = reliability(log_ratio, torch.arange(len(log_ratio)) < len(real))
    of_generated, of_real = mean_one(real, generated)
    return CalibrationScores(
        balanced_log_loss(real, generated).item(),
        curve.expected_error,
        curve.maximum_error,
        of_generated.item(),
        of_real.item(),
    )


def chasm_warning(classifier: ClassifierRecord) -> str | None:
    """A sentence for a density chasm, or none."""
    if not classifier.density_chasm:
        return None
    return (
        f"density chasm: the classifier tells {classifier.accuracy:.1%} of held-out rows apart, so real and "
        "generated samples barely overlap in what it sees; few samples carry the weight, and a flattened ratio, other "
        "features or a better generator are the way out"
    )


def evaluation_record(
    evaluation: Evaluation,
    blocks: Sequence[Evaluation],
    weightings: ScoredWeightings,
    validation: Validation,
    uncertainties: Mapping[str, Uncertainty],
    *,
    recommended: str,
    flattening: Flattening | None,
) -> EvaluationRecord:
    """The record of an evaluation; which run and which tables it is of stands nowhere in it yet.

    Args:
        evaluation: after its test, of all rows.
        blocks: the same by the definitions of the paper's official code, each of other rows; or none.
        weightings: whose scores these are.
        validation: log-ratios of rows that judge the classifier and each weighting but the uniform one.
        uncertainties: by the standard metrics' names; empty where they were not asked for.
        recommended: name of the weighting to recommend.
    """
    rows, choice = weightings.rows, weightings.choice
    _, *judged = weightings.named
    candidates = judge_all(
        [weightings.named[name] for name in judged], *validation.calibrated, strata=validation.strata
    )
    candidate_of = dict(zip(judged, candidates, strict=True))
    lost = {Metric.named(name): reason for e in [evaluation, *blocks] for name, reason in e.lost.items()}
    named = f"named by weighting={recommended}; auto says: {choice.verdict}: {choice.reason}"
    names = [*weightings.named, *([EXACT] if evaluation.weights.shape[1] > len(weightings.named) else [])]
    record = EvaluationRecord(
        experiment="",
        version=__version__,
        num_real=len(rows.real),
        num_generated=len(rows.generated),
        num_reference=len(rows.reference) if rows.reference is not None else 0,
        extractors=tuple(ExtractorRecord(column.name, column.name) for column in evaluation.features),
        paper_blocks=len(blocks),
        classifier=held_out_scores(validation.raw, validation.calibrated),
        reference={
            Metric.named(name): Estimate(values[0], math.nan)
            for e in [evaluation, *blocks[:1]]  # the same real rows in every block
            for name, values in e.reference.items()
        },
        recommended=recommended,
        verdict=choice.verdict,
        reason=choice.reason if recommended == AUTO else named,
        pareto_k_threshold=pareto_k_threshold(len(rows.generated)),
        real_class_proportions=tuple(evaluation.real_proportions),
        lost=lost or None,
        weightings=tuple(
            weighting_record(
                name,
                weightings.named.get(name),
                evaluation.weights[:, i],
                rows,
                candidate_of.get(name),
                scores_of(i, evaluation, blocks, uncertainties),
                tuple(evaluation.proportions[i]) if evaluation.proportions else (),
            )
            for i, name in enumerate(names)
        ),
        flattening=flattening,
        seen=tuple(column.suffix.removeprefix("@") for column in evaluation.features if column.seen),
        left_out=tuple(weightings.left_out) or None,
    )
    return EvaluationRecord.from_json(record.to_json())  # as the file has it: what is not finite is nan


def weighting_record(
    name: str,
    weighting: Weighting | None,
    weights: Float[Tensor, " n"],
    rows: ScoredRows,
    candidate: Candidate | None,
    metrics: dict[Metric, Score],
    proportions: tuple[float, ...],
) -> WeightingRecord:
    """One weighting; none where the data set knows its weights."""
    w, ess = weighting, effective_sample_size(weights).item()
    return WeightingRecord(
        name=name,
        flatten=w.flatten if w else math.nan,
        clip=w.clip if w else math.nan,
        smooth=w.smooth if w else None,
        stratify=w.stratify or None if w else None,
        ess=ess,
        ess_share=ess / len(weights),
        pareto_k=pareto_k(w.unsmoothed.log_weights(rows.log_ratio, rows.strata) if w else weights.log()),
        max_weight=weights.max().item(),
        top_1_percent_share=top_share(weights).item(),
        kl_gain=Estimate(candidate.kl_gain, candidate.standard_error) if candidate else None,
        metrics=metrics,
        class_proportions=proportions,
    )


def scores_of(
    i: int, evaluation: Evaluation, blocks: Sequence[Evaluation], uncertainties: Mapping[str, Uncertainty]
) -> dict[Metric, Score]:
    """Every metric under the i-th weighting; of blocks, the mean and its standard error."""
    found = {}
    for scored in ([evaluation], blocks):
        for name in scored[0].scores if scored else ():
            values = [e.scores[name] for e in scored]
            difference = Difference(*mean_and_error([v[i] - v[0] for v in values]))
            score = Score(*mean_and_error([v[i] for v in values]), difference)
            uncertainty = uncertainties.get(name)
            found[Metric.named(name)] = with_uncertainty(score, uncertainty, i) if uncertainty else score
    return found


def with_uncertainty(score: Score, u: Uncertainty, i: int) -> Score:
    """The i-th weighting's score with its error, that of the difference, the control of equal ESS and the limit."""
    return Score(
        score.value,
        u.standard_error[i],
        Difference(score.difference.value, u.difference_error[i], u.difference_half_width[i]),
        half_width=u.half_width[i],
        interval=u.interval[i],
        control=Estimate(u.control[i], u.control_error[i]),
        correction=Estimate(score.value - u.control[i], math.nan),
        infinite=Estimate(u.infinite[i], u.infinite_error[i]),
    )


def table_records(tables: Mapping[str, Table]) -> tuple[TableRecord, ...]:
    """Which samples were scored: the tables by what they hold, their rows and the hash of their content."""
    return tuple(TableRecord(name, len(table), getattr(table, "identity", None)) for name, table in tables.items())
