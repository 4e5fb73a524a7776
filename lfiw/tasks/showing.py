"""What an evaluation leaves to look at: pictures, and what goes to the run's loggers."""

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from pytorch_lightning import Trainer
from torch import Tensor

from lfiw import figures, tracking
from lfiw.calibration import reliability
from lfiw.data.mixed import REAL, MixedDataModule
from lfiw.record import Record
from lfiw.tables import score_rows, shown_weightings
from lfiw.tasks.log_ratios import Sides, Validation
from lfiw.weights import Weighting


def draw(
    run_dir: Path,
    record: Record,
    weightings: Mapping[str, Weighting],
    log_ratio: Float[Tensor, " n"],
    datamodule: MixedDataModule,
    validation: Validation,
) -> dict[str, Path]:
    """The pictures of an evaluation: heading → PNG file.

    Args:
        log_ratio: of the generated evaluation rows.
        validation: log-ratios of validation rows, as trained and recalibrated.
    """
    name = shown_weightings(record)[1]
    shown = next(w for w in record["weightings"] if w["name"] == name)
    pictures = {
        "Weights": figures.weight_histogram(
            weightings[name].log_weights(log_ratio), shown["ess"], shown["pareto_k"], run_dir / "weights.png"
        )
    }
    if datamodule.samples == "image":
        pictures["Samples"] = figures.contact_sheet(sample_images(datamodule, log_ratio), run_dir / "samples.png")
    if record["real_class_proportions"]:
        names = shown_weightings(record)
        shares = [(w["name"], w["class_proportions"]) for w in record["weightings"] if w["name"] in names]
        file = run_dir / "class_proportions.png"
        pictures["Class proportions"] = figures.class_proportions(shares, record["real_class_proportions"], file)
    curves = {"as trained": validation.raw}
    if record["calibration"] != "none":
        curves[record["calibration"]] = validation.calibrated
    pictures["Calibration"] = figures.reliability(
        {name: reliability(torch.cat(sides), is_real(sides)) for name, sides in curves.items()},
        run_dir / "calibration.png",
    )
    return pictures


def is_real(sides: Sides) -> Bool[Tensor, " n"]:
    """Which rows of both sides, one after the other, are real."""
    return torch.arange(sum(map(len, sides))) < len(sides[REAL])


def sample_images(datamodule: MixedDataModule, log_ratio: Float[Tensor, " n"]) -> list[tuple[str, Tensor]]:
    """Generated images of the lowest and the highest weight, and real ones, under their titles."""
    order = log_ratio.argsort()
    real, generated = datamodule.splits["evaluation"]
    chosen = {
        "lowest weight": (generated, order[: figures.SHEET]),
        "highest weight": (generated, order.flip(0)[: figures.SHEET]),
        "real": (real, torch.arange(min(figures.SHEET, len(real)))),
    }
    return [(title, subset.read(rows, ["image"])["image"]) for title, (subset, rows) in chosen.items()]


def track(trainer: Trainer, record: Record, pictures: Mapping[str, Path], log_ratio: Tensor) -> None:
    """Send the evaluation to the run's loggers."""
    scalars = {f"test/{w['name']}/ess": w["ess"] for w in record["weightings"]}
    for w in record["weightings"]:
        scalars |= {f"test/{w['name']}/{metric}": kept["value"] for metric, kept in w["metrics"].items()}
    trainer.callback_metrics.update({name: torch.tensor(value) for name, value in scalars.items()})
    for logger in trainer.loggers:
        logger.log_metrics(scalars, step=trainer.global_step)
    tracking.log_pictures(trainer.loggers, {f"evaluation/{file.stem}": file for file in pictures.values()})
    tracking.log_table(trainer.loggers, "evaluation/scores", *score_rows(record))
    tracking.log_histogram(trainer.loggers, "evaluation/log_ratio", log_ratio.tolist())
