"""The report of an evaluation: one self-contained HTML page."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from lfiw.evaluation.figures import Picture
from lfiw.evaluation.record import EvaluationRecord
from lfiw.evaluation.recording import chasm_warning
from lfiw.evaluation.tables import (
    Cells,
    classifier_rows,
    correction_rows,
    infinite_rows,
    number,
    proportion_rows,
    score_rows,
)
from lfiw.evaluation.verdict import change_rows, verdict_of
from lfiw.files import write_atomically

TEMPLATES = Environment(
    loader=PackageLoader("lfiw.evaluation"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, values: Mapping[str, Any]) -> str:
    """A page, with its style in it.

    Args:
        template: name of a file in lfiw/evaluation/templates.
        values: of the template's variables; each that it uses must be there.
    """
    return TEMPLATES.get_template(template).render(**values)


SECTIONS = ("scores", "weights", "flattening", "classifier", "samples", "classes")  # of the page, that have pictures


def write_report(
    file: Path,
    record: EvaluationRecord,
    pictures: Mapping[str, Sequence[Picture]],
    *,
    configuration: str = "",
    seconds: Mapping[str, float] | None = None,
) -> None:
    """Writes the page.

    Args:
        pictures: of some of the SECTIONS.
        configuration: as YAML.
        seconds: stage of the run → how long it took.
    """
    values = {
        "record": record,
        "verdict": verdict_of(record),
        "changes": change_rows(record),
        "warning": chasm_warning(record.classifier),
        "scores": score_rows(record, intervals=True),
        "corrections": correction_rows(record) if record.has_intervals else None,
        "infinite": infinite_rows(record),
        "classifier": classifier_rows(record),
        "paper_scores": score_rows(record, paper=True) if record.metrics(paper=True) else None,
        "proportions": proportion_rows(record) if record.real_class_proportions else None,
        "pictures": {section: pictures.get(section, ()) for section in SECTIONS},
        "provenance": provenance_rows(record),
        "seconds": seconds_rows(seconds or {}),
        "configuration": configuration,
    }
    write_atomically(file, render("report.html", values))


def provenance_rows(record: EvaluationRecord) -> Cells:
    """Titles and cells: what the numbers were computed from, and by which versions."""
    rows = [
        [f"samples: {table.name}", f"{table.rows:,} rows, SHA-256 {table.sha256 or 'unknown'}"]
        for table in record.tables
    ]
    rows += [
        [f"extractor: {e.name}", f"weights with SHA-256 {e.sha256}" if e.sha256 else "has no weights"]
        for e in record.extractors
    ]
    versions = {
        "lfiw": record.version,
        **{name: version(name) for name in ("torch", "pytorch-lightning", "torchmetrics")},
        "Python": platform.python_version(),
    }
    rows.append(["software", ", ".join(f"{name} {found}" for name, found in versions.items())])
    return ["what", "which"], rows


def seconds_rows(seconds: Mapping[str, float]) -> Cells:
    """Titles and cells: the stages of the run."""
    return ["stage", "seconds"], [[stage, number(value, 3)] for stage, value in seconds.items()]
