"""What the tables are made of: rows of a study, cells, Markdown."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Study = dict[str, Any]
Row = dict[str, Any]


def markdown(titles: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(titles) + " |", "|" + " --- |" * len(titles)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def by_name(study: Study) -> dict[tuple[str, str], Row]:
    """(name, metric) → its row."""
    return {(r["name"], r["metric"]): r for r in study["rows"]}


def cells(study: Study) -> Callable[[str, str], str]:
    """(name, metric) → mean ± standard error, two digits of the error."""
    found = by_name(study)

    def cell(name: str, metric: str) -> str:
        row = found.get((name, metric))
        return "–" if row is None else plus_minus(row["mean"], row["se"])

    return cell


def grid(study: Study, titles: list[str], metrics: Sequence[str], names: Mapping[str, str] | Sequence[str]) -> str:
    """A table of a name a row and a metric a column; `names` may say what is shown for each."""
    cell, shown = cells(study), names if isinstance(names, Mapping) else dict(zip(names, names, strict=True))
    return markdown(titles, [[title, *(cell(name, m) for m in metrics)] for name, title in shown.items()])


def names_of(study: Study, *metrics: str) -> list[str]:
    """Of the rows with these metrics, of all rows without one, each once."""
    return list(dict.fromkeys(r["name"] for r in study["rows"] if not metrics or r["metric"] in metrics))


def plus_minus(mean: float, error: float | None) -> str:
    """A mean with as many digits as two digits of its error allow."""
    if error is None:
        return f"{mean:.4g}"
    if error == 0:
        return f"{mean:g}"
    digits = max(0, 1 - int(f"{error:e}".partition("e")[2]))
    return f"{mean:.{digits}f} ± {error:.{digits}f}"


def with_interval(row: Row) -> str:
    """A ratio with its 95 % interval."""
    ends = f" ({row['low']:.2f}–{row['high']:.2f})" if "low" in row else ""
    return f"{row['mean']:.2f}{ends}"


def mean_of(study: Study, name: str, metric: str) -> float:
    """Zero where there is none."""
    row = by_name(study).get((name, metric))
    return 0.0 if row is None else float(row["mean"])
