"""Builds tables: rows of a study, cells, Markdown."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Study = dict[str, Any]
Row = dict[str, Any]


def markdown(titles: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(titles) + " |", "|" + " --- |" * len(titles)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def by_name(study: Study) -> dict[tuple[str, str], Row]:
    """Returns (name, metric) → row."""
    return {(r["name"], r["metric"]): r for r in study["rows"]}


def cells(study: Study) -> Callable[[str, str], str]:
    """Returns a function (name, metric) → mean ± standard error, with two digits of the error."""
    results = by_name(study)

    def cell(name: str, metric: str) -> str:
        row = results.get((name, metric))
        return "–" if row is None else plus_minus(row["mean"], row["se"])

    return cell


def grid(study: Study, titles: list[str], metrics: Sequence[str], names: Mapping[str, str] | Sequence[str]) -> str:
    """Makes a table with one name per row and one metric per column; `names` may map names to titles."""
    cell, shown = cells(study), names if isinstance(names, Mapping) else dict(zip(names, names, strict=True))
    return markdown(titles, [[title, *(cell(name, m) for m in metrics)] for name, title in shown.items()])


def names_of(study: Study, *metrics: str) -> list[str]:
    """Returns the distinct names of rows with these metrics, or of all rows if none is given."""
    return list(dict.fromkeys(r["name"] for r in study["rows"] if not metrics or r["metric"] in metrics))


def plus_minus(mean: float, error: float | None) -> str:
    """Formats a mean with as many digits as two digits of its error justify."""
    if error is None:
        return f"{mean:.4g}"
    if error == 0:
        return f"{mean:g}"
    digits = max(0, 1 - int(f"{error:e}".partition("e")[2]))
    return f"{mean:.{digits}f} ± {error:.{digits}f}"


def with_interval(row: Row) -> str:
    """Formats a ratio with its 95 % interval."""
    ends = f" ({row['low']:.2f}–{row['high']:.2f})" if "low" in row else ""
    return f"{row['mean']:.2f}{ends}"


def mean_of(study: Study, name: str, metric: str) -> float:
    """Returns the mean of a row; 0 if there is no such row."""
    row = by_name(study).get((name, metric))
    return 0.0 if row is None else float(row["mean"])
