"""What an evaluation found, in words: one verdict for terminal, page, evaluation.json and loggers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lfiw.evaluation.record import MIXED, UNCHANGED, WORSENS, EvaluationRecord, Metric, Score
from lfiw.evaluation.tables import Cells, as_number, balance_sentence, number, with_error, with_interval
from lfiw.weighting.gate import AUTO, CANNOT, CORRECTS, NOTHING

HEADLINES = {
    CORRECTS: "Weighting corrects this generator.",
    MIXED: "Weighting improves some scores and worsens others.",
    WORSENS: "Weighting makes the scores worse.",
    UNCHANGED: "Weighting changes no score beyond its error.",
    NOTHING: "There is nothing to correct.",
    CANNOT: "Weights cannot correct these samples.",
}
TONES = {
    CORRECTS: "good", MIXED: "mixed", WORSENS: "bad", UNCHANGED: "neutral", NOTHING: "neutral", CANNOT: "bad",
}  # fmt: skip
CHANCE = 0.5  # AUC of a classifier that tells nothing apart
DOUBTED = "Weighting improves the scores, but its weights leave doubts."
IN_PART = "Weighting corrects a part: real and generated samples barely overlap."
UNFOUND = "The ratio found nothing to correct, but a second classifier does."
BETTER, WORSE, UNCLEAR = "better", "worse", "unclear"


@dataclass(frozen=True)
class Verdict:
    """What to think of a run.

    Args:
        word: in `lfiw.evaluation.record.VERDICTS`.
        headline: a sentence of a few words.
        tone: good, mixed, neutral or bad.
        summary: what the recommended weighting improves, does not change and makes worse.
        reason: of the gate, with the numbers behind it.
        doubts: what the weights say against their scores, a sentence each.
    """

    word: str
    headline: str
    tone: str
    summary: str
    reason: str
    doubts: tuple[str, ...] = ()


def verdict_of(record: EvaluationRecord) -> Verdict:
    """Weighs the gate and every score's paired 95 % interval.

    Uniform weights change nothing, whatever rounding says: the gate's word stands. Others correct only if some score
    gets better and none gets worse, each beyond its interval. Scores without an interval do not count.
    """
    chosen = record.chosen
    if chosen.is_uniform:
        word, summary = record.verdict, "The samples are left as they were generated."
    else:
        readings = {metric: read(metric, chosen.metrics[metric]) for metric in record.metrics()}
        better, worse, unclear = (
            [m for m, word in readings.items() if word == kind] for kind in (BETTER, WORSE, UNCLEAR)
        )
        word = MIXED if better and worse else CORRECTS if better else WORSENS if worse else UNCHANGED
        if not readings or not (better or worse or unclear):
            word = record.verdict  # without intervals there is the gate's word alone
        summary = in_a_sentence(better, unclear, worse) + of_the_unseen(record, [*better, *unclear, *worse])
    summary += of_the_balance(record)
    doubts = doubts_about(record)
    headline, tone = HEADLINES[word], TONES[word]
    if word == CORRECTS and record.classifier.density_chasm:
        headline, tone = IN_PART, "mixed"
    if word == CORRECTS and doubts:
        headline, tone = DOUBTED, "mixed"
    if word == NOTHING and doubts:
        headline, tone = UNFOUND, "mixed"
    if record.recommended != AUTO:
        headline = f"Weighting “{record.recommended}”, as asked for: {word}."
    return Verdict(word, headline, tone, summary, record.reason, doubts)


def with_verdict(record: EvaluationRecord) -> EvaluationRecord:
    """Returns the record with the verdict of everything in it."""
    verdict = verdict_of(record)
    return replace(record, verdict=verdict.word, summary=" ".join([verdict.summary, *verdict.doubts]))


def in_a_sentence(better: Sequence[Metric], unclear: Sequence[Metric], worse: Sequence[Metric]) -> str:
    """`Weighting improves FID and KID, does not change IS beyond its error, and makes class distance worse.`"""
    parts = []
    if better:
        parts.append(f"improves {listed(better)}")
    if unclear:
        parts.append(f"does not change {listed(unclear)} beyond its error")
    if worse:
        parts.append(f"makes {listed(worse)} worse")
    if not parts:
        return "No score has an interval, so that none can be said to change."
    return f"Weighting {', and '.join([', '.join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)}."


def of_the_unseen(record: EvaluationRecord, judged: Sequence[Metric]) -> str:
    """Returns a sentence on which features the ratio did not see, where that is known."""
    if record.seen is None or not judged:
        return ""
    main = record.extractors[0].name
    unseen = dict.fromkeys(metric.extractor or main for metric in judged if metric.extractor not in record.seen)
    if not unseen:
        return " All of these are of features that the ratio saw."
    return f" The ratio did not see these features: {', '.join(unseen)}."


def of_the_balance(record: EvaluationRecord) -> str:
    """Returns how far a second classifier says that the correction is from done, where one was asked."""
    if record.balance is None:
        return ""
    before, after = record.balance.before, record.balance.after
    way = ""
    if after and before.auc - before.half_width > CHANCE:
        done = (before.auc - after.auc) / (before.auc - CHANCE)
        way = f" Weighting goes {min(max(done, 0), 1):.0%} of the way."
    return f" {balance_sentence(record.balance)}{way}"


def listed(metrics: Sequence[Metric]) -> str:
    """`FID, KID and IS`."""
    *others, last = [metric.label for metric in metrics]
    return f"{', '.join(others)} and {last}" if others else last


def doubts_about(record: EvaluationRecord) -> tuple[str, ...]:
    """Says where the recommended weights have too heavy a tail on the scored rows for their scores to be trusted, and
    where there is more to correct than the ratio found."""
    chosen, threshold = record.chosen, record.pareto_k_threshold
    if chosen.is_uniform:
        apart = record.balance and record.balance.before.auc - record.balance.before.half_width > CHANCE
        if record.verdict == NOTHING and apart:
            return (
                "There is more to correct than the ratio found: train it longer, on more rows or on other features.",
            )
        return ()
    if not chosen.pareto_k >= threshold:
        return ()
    return (
        f"On the scored rows the weights' k̂ is {number(chosen.pareto_k, 2)}, not below {threshold:.2f}, and "
        f"{number(chosen.ess, 3)} effective samples of {record.num_generated:,} are left: do not trust the "
        "weighted scores.",
    )


def read(metric: Metric, score: Score) -> str:
    """Reads the change from uniform weights."""
    return reading(metric, score.difference.value, score.difference.half_width)


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
        change = with_interval(after.difference.value, after.difference.half_width)
        scores = [with_error(score.value, score.se) for score in (before, after)]
        rows.append([metric.title, read(metric, after), change, *scores])
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
