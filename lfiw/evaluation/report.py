"""What an evaluation leaves to look at: tables in the terminal, pictures, report.html, and what the loggers get."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from jinja2 import Environment, PackageLoader, StrictUndefined
from pytorch_lightning import Trainer
from torch import Tensor

from lfiw.evaluation.figures import Picture, draw_evaluation
from lfiw.evaluation.plots import contact_sheet, save
from lfiw.evaluation.record import EvaluationRecord
from lfiw.evaluation.recording import chasm_warning
from lfiw.evaluation.samples import Group, sample_groups, sample_pictures
from lfiw.evaluation.scored_rows import ScoredRows
from lfiw.evaluation.tables import (
    Cells,
    balance_sentence,
    classifier_rows,
    correction_rows,
    infinite_rows,
    number,
    print_evaluation,
    proportion_rows,
    score_rows,
    within_class_rows,
)
from lfiw.evaluation.verdict import change_rows, verdict_of
from lfiw.files import write_atomically
from lfiw.training import tracking
from lfiw.training.progress import with_progress
from lfiw.training.run_folder import TRAINING, VALIDATION, Curve, logged_losses, seconds_of
from lfiw.weighting.calibration import Validation

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


SECTIONS = (
    "scores",
    "weights",
    "balance",
    "flattening",
    "classifier",
    "samples",
    "classes",
)  # of the page, that have pictures


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
        "balance": balance_sentence(record.balance) if record.balance else None,
        "classifier": classifier_rows(record),
        "paper_scores": score_rows(record, paper=True) if record.metrics(paper=True) else None,
        "proportions": proportion_rows(record) if record.real_class_proportions else None,
        "by_class": within_class_rows(record) if record.by_class else None,
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


def show(
    record: EvaluationRecord,
    rows: ScoredRows,
    validation: Validation,
    run_dir: Path,
    trainer: Trainer,
    *,
    figures: bool,
    training_loss: bool,
    configuration: str,
    seed: int,
    progress: bool,
) -> None:
    """Prints the tables, draws, writes report.html and sends all of it to the run's loggers, in the first process.

    Args:
        rows: those that were scored.
        validation: log-ratios of validation rows, as trained and recalibrated.
        run_dir: where metrics.jsonl lies, and where pictures and the page go.
        trainer: whose loggers are used.
        figures: draw, and write the page.
        training_loss: draw the training loss beside the validation log-loss, which it is comparable to.
        configuration: YAML, shown on the page.
        seed: of the images that are drawn at random.
        progress: show a progress bar.
    """
    if trainer.is_global_zero:
        print_evaluation(record)
        (run_dir / "report.html").unlink(missing_ok=True)  # of an earlier evaluation
        files: dict[str, Path] = {}
        if figures:
            log = run_dir / "metrics.jsonl"
            training = logged_losses(log, TRAINING) if training_loss else {}
            pictures, groups = report_pictures(record, rows, validation, logged_losses(log, VALIDATION), training, seed)
            drawn = {
                name: picture
                for section, named in pictures.items()
                if section != "samples"
                for name, picture in named.items()
            }
            files = write_pictures(drawn, run_dir, progress=progress)
            if groups:
                sheet = contact_sheet({group.title: group.images for group in groups})
                files["samples"] = save(sheet, run_dir / "samples.png")
            write_report(
                run_dir / "report.html",
                record,
                {section: list(named.values()) for section, named in pictures.items()},
                configuration=configuration,
                seconds=seconds_of(run_dir),
            )
            print(f"report: {run_dir / 'report.html'}")
        track(trainer, record, files, rows.log_ratio)
    trainer.strategy.barrier()


def report_pictures(
    record: EvaluationRecord,
    rows: ScoredRows,
    validation: Validation,
    losses: Mapping[str, Curve] | None = None,
    training: Mapping[str, Curve] | None = None,
    seed: int = 0,
) -> tuple[dict[str, dict[str, Picture]], list[Group]]:
    """Draws what a report shows.

    Args:
        rows: those that were scored.
        validation: log-ratios of validation rows, as trained and recalibrated.
        losses, training: as `draw_evaluation` takes them. If None, training is not drawn.
        seed: of the images that are drawn at random.

    Returns:
        Section of the report → its pictures by name, and the groups of images that were scored, if they were images.
    """
    pictures = draw_evaluation(record, rows, validation, losses or {}, training or {})
    if "image" not in rows.real.table.columns:
        return pictures, []
    groups = sample_groups(record, rows, seed=seed)
    return {**pictures, "samples": {p.title: p for p in sample_pictures(groups)}}, groups


def write_pictures(pictures: Mapping[str, Picture], folder: Path, *, progress: bool) -> dict[str, Path]:
    """PNG files, by the pictures' names.

    Args:
        progress: show a progress bar.
    """
    shown = with_progress(pictures.items(), "figures", shown=progress)
    return {name: picture.write(folder / f"{name}.png") for name, picture in shown}


def track(
    trainer: Trainer, record: EvaluationRecord, pictures: Mapping[str, Path], log_ratio: Float[Tensor, " n"]
) -> None:
    """Send the evaluation to the run's loggers."""
    scalars = {f"test/{w.name}/ess": w.ess for w in record.weightings}
    for w in record.weightings:
        scalars |= {
            f"test/{w.name}/{metric}": score.value for metric, score in w.metrics.items() if score.value == score.value
        }
    trainer.callback_metrics.update({name: torch.tensor(value) for name, value in scalars.items()})
    for logger in trainer.loggers:
        logger.log_metrics(scalars, step=trainer.global_step)
    tracking.log_summary(trainer.loggers, {"verdict": record.verdict, "summary": record.summary or ""})
    tracking.log_pictures(trainer.loggers, {f"evaluation/{name}": file for name, file in pictures.items()})
    tracking.log_table(trainer.loggers, "evaluation/scores", *score_rows(record))
    tracking.log_histogram(trainer.loggers, "evaluation/log_ratio", log_ratio.tolist())
