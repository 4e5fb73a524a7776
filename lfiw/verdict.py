"""What an evaluation found, in words: the first thing of a report."""

from dataclasses import dataclass
from typing import Any

from lfiw.selection import AUTO, CANNOT, CORRECTS, NOTHING
from lfiw.tables import is_paper, metric_title, number, total_variation, with_error, with_interval

Record = dict[str, Any]
HEADLINES = {
    CORRECTS: "Weighting corrects this generator.",
    NOTHING: "There is nothing to correct.",
    CANNOT: "Weights cannot correct these samples.",
}
TONES = {CORRECTS: "good", NOTHING: "neutral", CANNOT: "bad"}
DOUBTED = "Validation rows recommend weighting; the scored rows leave doubts."
BETTER, WORSE, UNCLEAR = "better", "worse", "unclear"


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


def verdict_of(record: Record) -> Verdict:
    """What the gate says, and what the scored rows say against it.

    Where a weighting was named by hand, that; the gate's word is then in the reason.
    """
    doubts = doubts_about(record)
    if record["recommended"] != AUTO:
        return Verdict(f"Weighting “{record['recommended']}”, as asked for.", "neutral", record["reason"], doubts)
    if record["verdict"] == CORRECTS and doubts:
        return Verdict(DOUBTED, "mixed", record["reason"], doubts)
    return Verdict(HEADLINES[record["verdict"]], TONES[record["verdict"]], record["reason"], doubts)


def doubts_about(record: Record) -> tuple[str, ...]:
    """Against the recommended weights: a tail that is too heavy on the scored rows, and scores that get worse.

    The choice was made on other rows and stands; a reader should know.
    """
    chosen, threshold = recommended_weighting(record), record["pareto_k_threshold"]
    told = []
    if chosen["pareto_k"] is not None and chosen["pareto_k"] >= threshold:
        told.append(
            f"On the scored rows the weights' k̂ is {number(chosen['pareto_k'], 2)}, not below {threshold:.2f}, and "
            f"{number(chosen['ess'], 3)} effective samples of {record['num_generated']:,} are left: do not trust the "
            "weighted scores."
        )
    worse = [metric_title(metric) for metric, score in chosen["metrics"].items() if gets_worse(metric, score)]
    if worse:
        told.append(f"Worse than as generated: {', '.join(worse)}.")
    return tuple(told)


def gets_worse(metric: str, score: Record) -> bool:
    """Whether a standard score is worse than that of uniform weights, at 95 % where there is an interval."""
    if is_paper(metric):
        return False
    change, half_width = score["difference"]["value"], score["difference"].get("half_width")
    if change is None or abs(change) <= (half_width or 0.0):
        return False
    return (change > 0) == ("↓" in metric_title(metric))


def recommended_weighting(record: Record) -> Record:
    """The record of the weighting that is recommended."""
    return next(w for w in record["weightings"] if w["name"] == record["recommended"])


def drawn_weighting(record: Record) -> Record:
    """The weighting whose weights a report draws: the recommended one, or the first other one where that is uniform."""
    chosen = recommended_weighting(record)
    return record["weightings"][1] if chosen["flatten"] == 0 and len(record["weightings"]) > 1 else chosen


def change_rows(record: Record) -> tuple[list[str], list[list[str]]]:
    """Titles and cells: what the recommended weighting does to each standard score.

    No row where the recommended weighting is uniform.
    """
    titles = ["score", "reads", "change", "as generated", "weighted"]
    uniform, chosen = record["weightings"][0], recommended_weighting(record)
    if chosen["flatten"] == 0:
        return titles, []
    rows = []
    for metric, found in chosen["metrics"].items():
        if is_paper(metric):
            continue
        before, change = uniform["metrics"][metric], found["difference"]
        rows.append(
            [
                metric_title(metric),
                reading(change["value"], change.get("half_width"), lower_is_better="↓" in metric_title(metric)),
                with_interval(change["value"], change.get("half_width")),
                with_error(before["value"], before["se"]),
                with_error(found["value"], found["se"]),
            ]
        )
    if real := record["real_class_proportions"]:
        before, after = (total_variation(w["class_proportions"], real) for w in (uniform, chosen))
        cells = [number(value, 3) for value in (after - before, before, after)]
        rows.append(["class distance ↓", reading(after - before, None, lower_is_better=True), *cells])
    return titles, rows


def reading(change: float, half_width: float | None, *, lower_is_better: bool) -> str:
    """Whether a change is for the better at 95 %; without an interval only its direction."""
    if half_width is None and change:
        return "lower" if change < 0 else "higher"
    if half_width is None or abs(change) <= half_width:
        return UNCLEAR
    return BETTER if (change < 0) == lower_is_better else WORSE
