"""evaluation.json as tables in the terminal."""

import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from lfiw.evaluation.record import UNKNOWN, Balance, Estimate, EvaluationRecord, Metric
from lfiw.evaluation.recording import chasm_warning
from lfiw.metrics.sample_size import FEW_ROWS

Cells = tuple[list[str], list[list[str]]]  # titles, rows
MOST_DIGITS = 6  # of a number in a table; larger ones have an exponent
MOST_CLASSES = 20  # in a table or figure of class proportions


def number(value: float | None, digits: int = 4) -> str:
    """`digits` significant digits, and up to six of those before the point; a dash for what is not a number."""
    if value is None or value != value:
        return "–"
    whole = 10**digits - 0.5 <= abs(value) < 10**MOST_DIGITS - 0.5
    return f"{value:,.0f}" if whole else f"{value:.{digits}g}"


def with_error(value: float | None, error: float | None, digits: int = 4) -> str:
    """`43.84 ± 0.31`; without the error where there is none."""
    shown = number(value, digits)
    return f"{shown} ± {number(error, 2)}" if error is not None and error == error else shown


def score_rows(record: EvaluationRecord, *, paper: bool = False, intervals: bool = False) -> Cells:
    """Titles and cells: the reference, then a row per weighting, the recommended one marked; scores ± standard error.

    Args:
        paper: the metrics by the definitions of the official code, instead of the standard ones.
        intervals: 95 % intervals instead of the standard errors.
    """
    metrics = record.metrics(paper=paper)
    titles = ["weighting", "ESS", "k̂", "max w", *(metric.title for metric in metrics)]
    rows = []
    if record.reference:
        cells = [number(record.reference[m].value) if m in record.reference else "–" for m in metrics]
        rows.append([f"reference (real, {record.num_reference:,} rows)", "–", "–", "–", *cells])
    for w in record.weightings:
        scores = [w.metrics[m] for m in metrics]
        cells = [with_interval(s.value, s.half_width, 4) if intervals else with_error(s.value, s.se) for s in scores]
        rows.append([record.starred(w.name), number(w.ess), number(w.pareto_k, 2), number(w.max_weight, 2), *cells])
    return titles, rows


def correction_rows(record: EvaluationRecord) -> Cells:
    """Titles and cells: how far the shown weightings move each standard score from the uniform one, with 95 %
    intervals, and, where there is one, from the control of equal ESS (the weights, permuted across the samples)."""
    _, *shown = record.shown
    metrics = [m for m in record.metrics() if record.uniform.metrics[m].correction]
    controlled = any(is_known(w.metrics[m].correction) for w in shown for m in metrics)
    titles = ["score"]
    for w in shown:
        titles.append(f"{record.starred(w.name)} − uniform")
        titles += [f"{record.starred(w.name)} − equal ESS"] * controlled
    rows = []
    for metric in metrics:
        cells = []
        for w in shown:
            score = w.metrics[metric]
            few = " (few rows)" if score.interval == FEW_ROWS else ""
            difference = with_interval(score.difference.value, score.difference.half_width) + few
            cells.append("0" if w.is_uniform else difference)  # not the rounding of the same weights
            cells += [number((score.correction or UNKNOWN).value, 3)] * controlled
        rows.append([metric.title, *cells])
    return titles, rows


def with_interval(value: float | None, half_width: float | None, digits: int = 3) -> str:
    """`−7.1 [−9.0, −5.2]`, at 95 %; without the interval where there is none."""
    if value is None or half_width is None or half_width != half_width:
        return number(value, digits)
    return f"{number(value, digits)} [{number(value - half_width, 3)}, {number(value + half_width, 3)}]"


def as_number(value: float | None) -> float:
    return math.nan if value is None else value


def infinite_rows(record: EvaluationRecord) -> Cells:
    """Titles and cells: scores extrapolated to infinitely many samples, of the weightings that have them."""
    metrics = [m for m, s in record.uniform.metrics.items() if is_known(s.infinite)]
    limits = {w.name: [w.metrics[m].infinite or UNKNOWN for m in metrics] for w in record.weightings}
    rows = [
        [name, *(with_error(e.value, e.se) for e in found)]
        for name, found in limits.items()
        if any(map(is_known, found))
    ]
    return ["weighting", *(metric.title for metric in metrics)], rows


def is_known(estimate: Estimate | None) -> bool:
    return estimate is not None and math.isfinite(estimate.value)


def classifier_rows(record: EvaluationRecord) -> Cells:
    """Titles and cells: the ratio classifier on held-out rows, as trained and recalibrated."""
    kinds = {"as trained": record.classifier.raw}
    if record.calibration != "none":
        kinds[record.calibration] = record.classifier.calibrated
    titles = [Metric(name).title for name in vars(record.classifier.raw)]
    return ["log-ratios", *titles], [[kind, *map(number, vars(scores).values())] for kind, scores in kinds.items()]


def proportion_rows(record: EvaluationRecord) -> Cells:
    """Titles and cells: share of each class, uniform, weighted and real, and the distance to the real ones."""
    shares = [*(w.class_proportions for w in record.shown), record.real_class_proportions]
    titles = ["class", *(w.name for w in record.shown), "real"]
    rows = [[str(c), *(f"{of[c]:.1%}" for of in shares)] for c in most_changed_classes(record)]
    distances = [f"{total_variation(of, record.real_class_proportions):.3f}" for of in shares[:-1]]
    rows.append(["distance to real", *distances, "–"])
    return titles, rows


def within_class_rows(record: EvaluationRecord) -> Cells:
    """Titles and cells: KID within each class, and how far the recommended weights move it; the 20 largest."""
    found = sorted(record.by_class or (), key=lambda c: -as_number(c.kid.value))[:MOST_CLASSES]
    titles = ["class", "real rows", "generated rows", "KID ↓"]
    if not record.chosen.is_uniform:
        titles.append(f"{record.starred(record.recommended)} − uniform")
    rows = []
    for c in sorted(found, key=lambda c: c.number):
        change = with_interval(c.difference.value, c.difference.half_width)
        cells = [f"{c.num_real:,}", f"{c.num_generated:,}", with_error(c.kid.value, c.kid.se, 3), change]
        rows.append([str(c.number), *cells[: len(titles) - 1]])
    return titles, rows


def most_changed_classes(record: EvaluationRecord) -> list[int]:
    """All classes in order; of more than 20, the 20 whose share among generated samples is furthest from the real."""
    real, uniform = record.real_class_proportions, record.uniform.class_proportions
    furthest = sorted(range(len(real)), key=lambda c: -abs(uniform[c] - real[c]))
    return sorted(furthest[:MOST_CLASSES])


def total_variation(p: Sequence[float], q: Sequence[float]) -> float:
    """½ Σ |p − q|: the share of mass that would have to move."""
    return sum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2


def balance_sentence(balance: Balance) -> str:
    """What a second classifier still tells apart."""
    sides = [(balance.before, "before weighting"), (balance.after, "after")]
    found = [
        f"{side.auc:.3f}{f' ± {side.half_width:.3f}' if side.half_width == side.half_width else ''} {when}"
        for side, when in sides
        if side
    ]
    return f"A second classifier tells real from generated rows with AUC {' and '.join(found)}; 0.5 is perfect."


def print_table(title: str, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table in the terminal, the first column left-aligned; never squeezed, a narrow terminal wraps its lines."""
    table = Table(title=title, title_justify="left")
    for i, name in enumerate(titles):
        table.add_column(name, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.width = max(console.width, console.measure(table, options=console.options.update(width=1000)).maximum)
    console.print(table)


def print_evaluation(record: EvaluationRecord) -> None:
    """All tables of an evaluation, and what the gate says."""
    classifier = record.classifier
    rows = f"{classifier.num_real:,} real and {classifier.num_generated:,} generated validation rows"
    print_table(f"ratio classifier on {rows}: accuracy {classifier.accuracy:.1%}", *classifier_rows(record))
    title = f"{record.experiment}: {record.num_generated:,} generated against {record.num_real:,} real rows"
    print_table(title, *score_rows(record))
    if record.has_intervals:
        print_table("corrections, with 95 % intervals (ratio fixed)", *correction_rows(record))
    titles, infinite = infinite_rows(record)
    if infinite:
        print_table("extrapolated to infinitely many samples", titles, infinite)
    for name in record.left_out or ():
        print(f"{name} –: one row carries all of its weight, so that it has no scores")
    for metric, reason in (record.lost or {}).items():
        print(f"{metric.title} –: {reason}")
    if record.metrics(paper=True):
        print_table("by the definitions of the paper's official code", *score_rows(record, paper=True))
    if record.real_class_proportions:
        print_table("class proportions", *proportion_rows(record))
    if record.by_class:
        print_table("within each class", *within_class_rows(record))
    if warning := chasm_warning(classifier):
        print(warning)
    print(verdict_line(record))


def verdict_line(record: EvaluationRecord) -> str:
    """Says what is recommended, what it does to the scores, and why it was chosen."""
    reason = record.reason[:1].upper() + record.reason[1:]
    return f"★ {record.recommended}: {record.verdict}. " + " ".join([record.summary or "", f"{reason}."]).strip()
