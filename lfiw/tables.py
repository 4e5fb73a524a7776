"""evaluation.json as tables in the terminal."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

METRIC_NAMES = {"fid": "FID ↓", "kid": "KID ↓", "is": "IS ↑"}


def metric_title(name: str) -> str:
    """`kid_paper@resnet56` → `KID ↓ (paper) @resnet56`."""
    name, at, extractor = name.partition("@")
    kind, underscore, _ = name.partition("_")
    return METRIC_NAMES.get(kind, kind) + (" (paper)" if underscore else "") + (f" @{extractor}" if at else "")


def number(value: float | None, digits: int = 4) -> str:
    """`digits` significant digits, and all of those before the point; a dash for what is not a number."""
    if value is None or value != value:
        return "–"
    return f"{value:.{digits}g}" if abs(value) < 10**digits - 0.5 else f"{value:,.0f}"


def is_paper(metric: str) -> bool:
    """Whether a metric follows the definitions of the paper's official code."""
    return "_paper" in metric


def score_rows(record: dict[str, Any], *, paper: bool = False) -> tuple[list[str], list[list[str]]]:
    """Titles and cells: the reference, then a row a weighting, the recommended one marked.

    Args:
        paper: the metrics by the definitions of the official code, instead of the standard ones.
    """
    metrics = [name for name in record["weightings"][0]["metrics"] if is_paper(name) == paper]
    titles = ["weighting", "ESS", "k̂", "max w", *map(metric_title, metrics)]
    rows = []
    if record["reference"]:
        cells = [number(record["reference"][m]["value"]) if m in record["reference"] else "–" for m in metrics]
        rows.append([f"reference (real, {record['num_reference']:,} rows)", "–", "–", "–", *cells])
    for w in record["weightings"]:
        mark = " ★" if w["name"] == record["recommended"] else ""
        cells = [number(w["metrics"][m]["value"]) for m in metrics]
        rows.append([w["name"] + mark, number(w["ess"]), number(w["pareto_k"], 2), number(w["max_weight"], 2), *cells])
    return titles, rows


def proportion_rows(record: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells: share of each class, uniform, weighted and real, and the distance to the real ones."""
    shown = shown_weightings(record)
    shares = {w["name"]: w["class_proportions"] for w in record["weightings"] if w["name"] in shown}
    real = record["real_class_proportions"]
    titles = ["class", *shown, "real"]
    rows = [[str(c), *(f"{shares[n][c]:.1%}" for n in shown), f"{real[c]:.1%}"] for c in range(len(real))]
    distances = [f"{total_variation(shares[n], real):.3f}" for n in shown]
    rows.append(["distance to real", *distances, "–"])
    return titles, rows


def shown_weightings(record: dict[str, Any]) -> list[str]:
    """Uniform, self-normalised (or the first other one) and the recommended weighting, without repeats."""
    names = [w["name"] for w in record["weightings"]]
    return list(dict.fromkeys([names[0], *names[1:2], record["recommended"]]))


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
    """Both tables of an evaluation, and which weighting is recommended."""
    title = f"{record['experiment']}: {record['num_generated']:,} generated against {record['num_real']:,} real rows"
    print_table(title, *score_rows(record))
    if any(map(is_paper, record["weightings"][0]["metrics"])):
        print_table("by the definitions of the paper's official code", *score_rows(record, paper=True))
    if record["real_class_proportions"]:
        print_table("class proportions", *proportion_rows(record))
    print(f"★ {record['recommended']}: {record['reason']}")
