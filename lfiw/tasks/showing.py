"""What an evaluation leaves to look at: pictures, and what goes to the run's loggers."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from pytorch_lightning import Trainer
from torch import Tensor

from lfiw import figures, tracking
from lfiw.data.mixed import GENERATED, REAL, MixedDataModule
from lfiw.record import Record
from lfiw.tables import score_rows, shown_weightings
from lfiw.weights import Weighting


def draw(
    run_dir: Path,
    record: Record,
    weightings: Mapping[str, Weighting],
    log_ratio: Float[Tensor, " n"],
    datamodule: MixedDataModule,
    validation: Sequence[Tensor],
) -> dict[str, Path]:
    """The pictures of an evaluation: heading → PNG file.

    Args:
        log_ratio: of the generated evaluation rows.
        validation: log-ratios of the real and the generated validation rows.
    """
    name = shown_weightings(record)[min(1, len(weightings) - 1)]
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
    is_real = torch.cat([torch.full((len(x),), i == REAL) for i, x in enumerate(validation)])
    odds = math.log(len(validation[REAL]) / len(validation[GENERATED]))
    probability = torch.sigmoid(torch.cat(list(validation)) + odds)
    pictures["Calibration"] = figures.reliability(probability, is_real, run_dir / "calibration.png")
    return pictures


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
