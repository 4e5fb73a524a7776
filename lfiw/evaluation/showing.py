"""What an evaluation leaves to look at: tables in the terminal, pictures, report.html, and what the loggers get."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
import yaml
from jaxtyping import Float
from pytorch_lightning import Trainer
from rich.progress import Progress
from torch import Tensor

from lfiw.evaluation.figures import Picture, draw_evaluation
from lfiw.evaluation.plots import contact_sheet, save
from lfiw.evaluation.record import EvaluationRecord
from lfiw.evaluation.report import write_report
from lfiw.evaluation.samples import sample_groups, sample_pictures
from lfiw.evaluation.tables import print_evaluation, score_rows
from lfiw.ratio.cross_fitting import Validation, log_ratio_column
from lfiw.ratio.mixed import MixedDataModule
from lfiw.schemas import Config
from lfiw.training import tracking
from lfiw.training.run_folder import TRAINING, VALIDATION, logged_losses, seconds_of


def show(
    config: Config,
    run_dir: Path,
    trainer: Trainer,
    datamodule: MixedDataModule,
    validation: Validation,
    record: EvaluationRecord,
) -> None:
    """The first process prints the tables, draws, writes report.html and sends all of it to the run's loggers.

    Args:
        validation: log-ratios of validation rows, as trained and recalibrated.
    """
    if trainer.is_global_zero:
        print_evaluation(record)
        log_ratio = datamodule.splits["evaluation"][1].column(log_ratio_column(run_dir))
        (run_dir / "report.html").unlink(missing_ok=True)  # of an earlier evaluation
        files: dict[str, Path] = {}
        if config.evaluation.figures:
            log = run_dir / "metrics.jsonl"
            # the training loss is a log-loss under the logistic loss alone
            training = logged_losses(log, TRAINING) if config.loss.name == "logistic" else {}
            pictures = draw_evaluation(record, log_ratio, validation, logged_losses(log, VALIDATION), training)
            drawn = {name: picture for section in pictures.values() for name, picture in section.items()}
            files = write_pictures(drawn, run_dir, progress=config.trainer.progress)
            sections = {section: list(named.values()) for section, named in pictures.items()}
            if datamodule.samples == "image":
                groups = sample_groups(datamodule, record, log_ratio, seed=config.seed)
                sections["samples"] = sample_pictures(groups)
                sheet = contact_sheet({group.title: group.images for group in groups})
                files["samples"] = save(sheet, run_dir / "samples.png")
            configuration = yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True)
            write_report(
                run_dir / "report.html",
                record,
                sections,
                configuration=configuration,
                seconds=seconds_of(run_dir),
            )
            print(f"report: {run_dir / 'report.html'}")
        track(trainer, record, files, log_ratio)
    trainer.strategy.barrier()


def write_pictures(pictures: Mapping[str, Picture], folder: Path, *, progress: bool) -> dict[str, Path]:
    """PNG files, by the pictures' names.

    Args:
        progress: show a progress bar.
    """
    files = {}
    with Progress(transient=True, disable=not progress) as bar:
        for name, picture in bar.track(pictures.items(), description="figures"):
            files[name] = picture.write(folder / f"{name}.png")
    return files


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
    tracking.log_pictures(trainer.loggers, {f"evaluation/{name}": file for name, file in pictures.items()})
    tracking.log_table(trainer.loggers, "evaluation/scores", *score_rows(record))
    tracking.log_histogram(trainer.loggers, "evaluation/log_ratio", log_ratio.tolist())
