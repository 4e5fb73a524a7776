"""report.html: one file with the verdict, the tables and the pictures of an evaluation, readable without a network."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lfiw.diagnosis import chasm_warning
from lfiw.files import write_atomically
from lfiw.page import render
from lfiw.pictures import Picture
from lfiw.tables import (
    classifier_rows,
    correction_rows,
    has_intervals,
    infinite_rows,
    is_paper,
    number,
    proportion_rows,
    score_rows,
)
from lfiw.verdict import change_rows, drawn_weighting, verdict_of


def write_report(
    file: Path,
    record: Mapping[str, Any],
    pictures: Mapping[str, Picture],
    grids: Sequence[Picture] = (),
    *,
    configuration: str = "",
    seconds: Mapping[str, float] | None = None,
) -> None:
    """Writes the page.

    Args:
        record: content of evaluation.json.
        pictures: name → figure, as `lfiw.tasks.drawing` makes them; the page has a place for each name it knows.
        grids: of images.
        configuration: as YAML.
        seconds: stage of the run → how long it took.
    """
    record = dict(record)
    values = {
        "record": record,
        "verdict": verdict_of(record),
        "changes": change_rows(record),
        "warning": chasm_warning(record["classifier"]),
        "scores": score_rows(record, intervals=True),
        "corrections": correction_rows(record) if has_intervals(record) else None,
        "infinite": infinite_rows(record),
        "classifier": classifier_rows(record),
        "paper_scores": score_rows(record, paper=True) if has_paper_scores(record) else None,
        "proportions": proportion_rows(record) if record["real_class_proportions"] else None,
        "drawn": drawn_weighting(record)["name"],
        "pictures": dict(pictures),
        "intervals": [picture for name, picture in pictures.items() if name.startswith("intervals_")],
        "flattening": [picture for name, picture in pictures.items() if name.startswith("flattening_")],
        "grids": list(grids),
        "provenance": provenance_rows(record),
        "seconds": seconds_rows(seconds or {}),
        "configuration": configuration,
    }
    write_atomically(file, render("report.html", values))


def has_paper_scores(record: Mapping[str, Any]) -> bool:
    """Whether scores by the definitions of the paper's official code are among the metrics."""
    return any(map(is_paper, record["weightings"][0]["metrics"]))


def provenance_rows(record: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells: what the numbers were computed from, and by which versions."""
    rows = [
        [f"samples: {table['name']}", f"{table['rows']:,} rows, SHA-256 {table['sha256'] or 'unknown'}"]
        for table in record["tables"]
    ]
    rows += [
        [f"extractor: {e['name']}", f"weights with SHA-256 {e['sha256']}" if e["sha256"] else "has no weights"]
        for e in record["extractors"]
    ]
    versions = {
        "lfiw": record["version"],
        **{name: version(name) for name in ("torch", "pytorch-lightning", "torchmetrics")},
        "Python": platform.python_version(),
    }
    rows.append(["software", ", ".join(f"{name} {found}" for name, found in versions.items())])
    return ["what", "which"], rows


def seconds_rows(seconds: Mapping[str, float]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells: the stages of the run."""
    return ["stage", "seconds"], [[stage, number(value, 3)] for stage, value in seconds.items()]
