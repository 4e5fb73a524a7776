"""What an evaluation found, in words: the first thing of a report."""

import math
from dataclasses import dataclass

from lfiw.evaluation.record import EvaluationRecord, Metric, Score
from lfiw.evaluation.tables import Cells, as_number, number, total_variation, with_error, with_interval
from lfiw.weighting.gate import AUTO, CANNOT, CORRECTS, NOTHING

HEADLINES = {
    CORRECTS: "Weighting corrects this generator.",
    NOTHING: "There is nothing to correct.",
    CANNOT: "Weights cannot correct these samples.",
}
TONES = {CORRECTS: "good", NOTHING: "neutral", CANNOT: "bad"}
DOUBTED = "Validation rows recommend weighting; the scored rows leave doubts."
BETTER, WORSE, UNCLEAR = "better", "worse", "unclear"
CLASS_DISTANCE = Metric("class_distance")


@dataclass(frozen=True)
class Verdict:
    """What to think of a run.

    Args:
        headline: a sentence of a few words.
        tone: good, mixed, neutral or bad.
        reason: the numbers behind it.
        doubts: what the scored rows say against it, a sentence each.
    """

    headline: str
    tone: str
    reason: str
    doubts: tuple[str, ...] = ()


def verdict_of(record: EvaluationRecord) -> Verdict:
    """What the gate says, and what the scored rows say against it.

    Where a weighting was named by hand, that; the gate's word is then in the reason.
    """
    doubts = doubts_about(record)
    if record.recommended != AUTO:
        return Verdict(f"Weighting “{record.recommended}”, as asked for.", "neutral", record.reason, doubts)
    if record.verdict == CORRECTS and doubts:
        return Verdict(DOUBTED, "mixed", record.reason, doubts)
    return Verdict(HEADLINES[record.verdict], TONES[record.verdict], record.reason, doubts)


def doubts_about(record: EvaluationRecord) -> tuple[str, ...]:
    """Against the recommended weights: a tail that is too heavy on the scored rows, and scores that get worse.

    The choice was made on other rows and stands; a reader should know.
    """
    chosen, threshold = record.chosen, record.pareto_k_threshold
    told = []
    if chosen.pareto_k >= threshold:
        told.append(
            f"On the scored rows the weights' k̂ is {number(chosen.pareto_k, 2)}, not below {threshold:.2f}, and "
            f"{number(chosen.ess, 3)} effective samples of {record.num_generated:,} are left: do not trust the "
            "weighted scores."
        )
    worse = [metric.title for metric in record.metrics() if gets_worse(metric, chosen.metrics[metric])]
    if worse:
        told.append(f"Worse than as generated: {', '.join(worse)}.")
    return tuple(told)


def gets_worse(metric: Metric, score: Score) -> bool:
    """Whether a score is worse than that of uniform weights, at 95 % where there is an interval."""
    half_width = as_number(score.difference.half_width)
    return reading(metric, score.difference.value, half_width if math.isfinite(half_width) else 0.0) == WORSE


def change_rows(record: EvaluationRecord) -> Cells:
    """Titles and cells: what the recommended weighting does to each standard score.

    No row where the recommended weighting is uniform.
    """
    titles = ["score", "reads", "change", "as generated", "weighted"]
    uniform, chosen = record.uniform, record.chosen
    if chosen.is_uniform:
        return titles, []
    rows = []
    for metric in record.metrics():
        before, after = uniform.metrics[metric], chosen.metrics[metric]
        change, half_width = after.difference.value, after.difference.half_width
        scores = [with_error(score.value, score.se) for score in (before, after)]
        rows.append([metric.title, reading(metric, change, half_width), with_interval(change, half_width), *scores])
    if real := record.real_class_proportions:
        shares = [total_variation(w.class_proportions, real) for w in (uniform, chosen)]
        change = shares[1] - shares[0]
        cells = [number(value, 3) for value in (change, *shares)]
        rows.append([CLASS_DISTANCE.title, reading(CLASS_DISTANCE, change), *cells])
    return titles, rows


def reading(metric: Metric, change: float, half_width: float | None = None) -> str:
    """Whether a change is for the better at 95 %; only its direction without an interval, or where none is better."""
    width = as_number(half_width)
    known = math.isfinite(width)
    if not abs(change) > (width if known else 0):
        return UNCLEAR
    if not known or metric.higher_is_better is None:
        return "lower" if change < 0 else "higher"
    return BETTER if (change > 0) == metric.higher_is_better else WORSE
