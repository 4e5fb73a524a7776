"""evaluation.json as tables in the terminal."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table

from lfiw.diagnosis import chasm_warning
from lfiw.intervals.kinds import FEW_ROWS
from lfiw.selection import AUTO

MOST_DIGITS = 6  # of a number in a table; larger ones have an exponent
MOST_CLASSES = 20  # in a table or figure of class proportions
METRIC_NAMES = {"fid": "FID ↓", "kid": "KID ↓", "is": "IS ↑"}
METRIC_NAMES |= {name: f"{name} ↑" for name in ("precision", "recall", "density", "coverage")}


def metric_title(name: str) -> str:
    """`kid_paper@resnet56` → `KID ↓ (paper) @resnet56`."""
    name, at, extractor = name.partition("@")
    kind, underscore, _ = name.partition("_")
    return METRIC_NAMES.get(kind, kind) + (" (paper)" if underscore else "") + (f" @{extractor}" if at else "")


def number(value: float | None, digits: int = 4) -> str:
    """`digits` significant digits, and up to six of those before the point; a dash for what is not a number."""
    if value is None or value != value:
        return "–"
    whole = 10**digits - 0.5 <= abs(value) < 10**MOST_DIGITS - 0.5
    return f"{value:,.0f}" if whole else f"{value:.{digits}g}"


def is_paper(metric: str) -> bool:
    """Whether a metric follows the definitions of the paper's official code."""
    return "_paper" in metric


def with_error(value: float | None, error: float | None, digits: int = 4) -> str:
    """`43.84 ± 0.31`; without the error where there is none."""
    shown = number(value, digits)
    return f"{shown} ± {number(error, 2)}" if error is not None and error == error else shown


def score_rows(
    record: dict[str, Any], *, paper: bool = False, intervals: bool = False
) -> tuple[list[str], list[list[str]]]:
    """Titles and cells: the reference, then a row a weighting, the recommended one marked; scores ± standard error.

    Args:
        paper: the metrics by the definitions of the official code, instead of the standard ones.
        intervals: 95 % intervals instead of the standard errors.
    """
    shown, error = (partial(with_interval, digits=4), "half_width") if intervals else (with_error, "se")
    metrics = [name for name in record["weightings"][0]["metrics"] if is_paper(name) == paper]
    titles = ["weighting", "ESS", "k̂", "max w", *map(metric_title, metrics)]
    rows = []
    if record["reference"]:
        cells = [number(record["reference"][m]["value"]) if m in record["reference"] else "–" for m in metrics]
        rows.append([f"reference (real, {record['num_reference']:,} rows)", "–", "–", "–", *cells])
    for w in record["weightings"]:
        mark = " ★" if w["name"] == record["recommended"] else ""
        cells = [shown(w["metrics"][m]["value"], w["metrics"][m].get(error)) for m in metrics]
        rows.append([w["name"] + mark, number(w["ess"]), number(w["pareto_k"], 2), number(w["max_weight"], 2), *cells])
    return titles, rows


def correction_rows(record: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells: how far the shown weightings move each standard score from the uniform one, with 95 %
    intervals, and from the control of equal ESS (the same weights, permuted across the samples)."""
    first, *shown = shown_weightings(record)
    found = {w["name"]: w["metrics"] for w in record["weightings"]}
    metrics = [name for name, score in found[first].items() if not is_paper(name) and "correction" in score]
    titles = ["score"]
    for name in shown:
        mark = " ★" if name == record["recommended"] else ""
        titles += [f"{name}{mark} − uniform", f"{name}{mark} − equal ESS"]
    rows = []
    for metric in metrics:
        cells = []
        for name in shown:
            difference, correction = found[name][metric]["difference"], found[name][metric]["correction"]
            moved = with_interval(difference["value"], difference["half_width"])
            few = " (few rows)" if found[name][metric]["interval"] == FEW_ROWS else ""
            cells += [moved + few, number(correction["value"], 3)]
        rows.append([metric_title(metric), *cells])
    return titles, rows


def with_interval(value: float | None, half_width: float | None, digits: int = 3) -> str:
    """`−7.1 [−9.0, −5.2]`, at 95 %; without the interval where there is none."""
    if value is None or half_width is None or half_width != half_width:
        return number(value, digits)
    return f"{number(value, digits)} [{number(value - half_width, 3)}, {number(value + half_width, 3)}]"


def as_number(value: float | None) -> float:
    return math.nan if value is None else value


def infinite_rows(record: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells: scores extrapolated to infinitely many samples, of the weightings that have them."""
    metrics = [
        m
        for m, found in record["weightings"][0]["metrics"].items()
        if math.isfinite(as_number(found.get("infinite", {}).get("value")))
    ]
    rows = [
        [
            w["name"],
            *(with_error(w["metrics"][m]["infinite"]["value"], w["metrics"][m]["infinite"]["se"]) for m in metrics),
        ]
        for w in record["weightings"]
        if metrics and math.isfinite(as_number(w["metrics"][metrics[0]]["infinite"]["value"]))
    ]
    return ["weighting", *map(metric_title, metrics)], rows


def classifier_rows(record: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells: the ratio classifier on held-out rows, as trained and recalibrated."""
    found = record["classifier"]
    names = {
        "log_loss": "log-loss ↓",
        "calibration_error": "calibration error",
        "max_calibration_error": "largest in a bin",
        "mean_weight_generated": "mean ŵ, generated",
        "mean_inverse_weight_real": "mean 1/ŵ, real",
    }
    kinds = {"raw": "as trained", "calibrated": record["calibration"]}
    if record["calibration"] == "none":
        del kinds["calibrated"]
    rows = [[title, *(number(found[kind][name]) for name in names)] for kind, title in kinds.items()]
    return ["log-ratios", *names.values()], rows


def proportion_rows(record: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells: share of each class, uniform, weighted and real, and the distance to the real ones."""
    shown = shown_weightings(record)
    shares = {w["name"]: w["class_proportions"] for w in record["weightings"] if w["name"] in shown}
    real = record["real_class_proportions"]
    titles = ["class", *shown, "real"]
    rows = [[str(c), *(f"{shares[n][c]:.1%}" for n in shown), f"{real[c]:.1%}"] for c in most_changed_classes(record)]
    distances = [f"{total_variation(shares[n], real):.3f}" for n in shown]
    rows.append(["distance to real", *distances, "–"])
    return titles, rows


def most_changed_classes(record: dict[str, Any]) -> list[int]:
    """All classes in order; of more than 20, the 20 whose share among generated samples is furthest from the real."""
    real, uniform = record["real_class_proportions"], record["weightings"][0]["class_proportions"]
    furthest = sorted(range(len(real)), key=lambda c: -abs(uniform[c] - real[c]))
    return sorted(furthest[:MOST_CLASSES])


def shown_weightings(record: dict[str, Any]) -> list[str]:
    """Uniform, self-normalised (or the first other one) and the recommended weighting, without repeats."""
    names = [w["name"] for w in record["weightings"]]
    exact = [name for name in names if name == "exact"]
    return list(dict.fromkeys([names[0], *names[1:2], record["recommended"], *exact]))


def total_variation(p: Sequence[float], q: Sequence[float]) -> float:
    """½ Σ |p − q|: the share of mass that would have to move."""
    return sum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2


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


def print_evaluation(record: dict[str, Any]) -> None:
    """All tables of an evaluation, and what the gate says."""
    classifier = record["classifier"]
    rows = f"{classifier['num_real']:,} real and {classifier['num_generated']:,} generated validation rows"
    print_table(f"ratio classifier on {rows}: accuracy {classifier['accuracy']:.1%}", *classifier_rows(record))
    title = f"{record['experiment']}: {record['num_generated']:,} generated against {record['num_real']:,} real rows"
    print_table(title, *score_rows(record))
    if has_intervals(record):
        print_table("corrections, with 95 % intervals", *correction_rows(record))
    titles, infinite = infinite_rows(record)
    if infinite:
        print_table("extrapolated to infinitely many samples", titles, infinite)
    for metric, reason in record.get("lost", {}).items():
        print(f"{metric_title(metric)} –: {reason}")
    if any(map(is_paper, record["weightings"][0]["metrics"])):
        print_table("by the definitions of the paper's official code", *score_rows(record, paper=True))
    if record["real_class_proportions"]:
        print_table("class proportions", *proportion_rows(record))
    if warning := chasm_warning(classifier):
        print(warning)
    print(verdict_line(record))


def has_intervals(record: dict[str, Any]) -> bool:
    """Whether standard errors or controls were computed."""
    return any("control" in found for found in record["weightings"][0]["metrics"].values())


def verdict_line(record: dict[str, Any]) -> str:
    """What is recommended, and why."""
    if record["recommended"] == AUTO:
        return f"★ auto {record['verdict']}: {record['reason']}"
    return f"★ {record['recommended']}: {record['reason']}"
