"""Log-ratios of generated drawings: by classifiers that saw neither them nor the drawings that they were made from."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from pytorch_lightning.loggers import Logger
from torch import Tensor

from lfiw.data.splits import GENERATED, REAL
from lfiw.ratio.classifier import RatioClassifier
from lfiw.ratio.cross_fitting import combine, members_of, train_members
from lfiw.schemas import Config, Conv4, Optimizer
from lfiw.tasks.augmentation.drawing_folds import DrawingFoldsDataModule, drawing_folds
from lfiw.tasks.augmentation.omniglot import OmniglotDataModule
from lfiw.training.trainer import best_checkpoint
from lfiw.weighting.calibration import Sides, Validation, fit_calibrators

FOLDER = "ratio"  # of its checkpoints, in the run folder


def cross_fitted_log_ratios(
    config: Config, run_dir: Path, loggers: Sequence[Logger], drawings: OmniglotDataModule
) -> tuple[Sides, Validation]:
    """Train a classifier a fold (and ensemble member) and score every row by those of its own fold.

    Returns:
        Log-ratios of the training drawings and of their generated ones, each out of its fold; and those of the
        validation rows that neither trained nor calibrated.
    """
    options = config.task.ratio
    own = replace(
        config,
        model=Conv4(width=options.width, dropout=options.dropout, norm=options.norm),
        optimizer=Optimizer(lr=options.lr, weight_decay=options.weight_decay),
        trainer=replace(config.trainer, max_epochs=options.max_epochs, patience=options.patience),
    )
    tables = drawing_folds(
        drawings.drawings["train"],
        drawings.generated,
        drawings.parents,
        config.folds,
        class_conditional=options.class_conditional,
    )
    datamodule = DrawingFoldsDataModule(
        tables[REAL], tables[GENERATED], folds=config.folds, batch_size=options.batch_size, seed=config.seed
    )
    datamodule.setup()
    folder = run_dir / FOLDER
    train_members(own, folder, loggers, datamodule)

    members = members_of(own)
    classifiers = [RatioClassifier.load(best_checkpoint(member.checkpoints(folder))) for member in members]
    sides: dict[int, Tensor] = {}  # (folds, members, rows)
    for side, table in tables.items():
        scored = torch.stack([classifier.log_ratio(table["image"]) for classifier in classifiers])
        sides[side] = scored.view(config.folds, config.ensemble, -1)
    held = {side: tables[side]["fold"] for side in sides}
    validating = []
    for fold in range(config.folds):
        real, generated = (
            sides[side][fold].mean(0)[held[side] == (fold + 1) % config.folds] for side in (REAL, GENERATED)
        )
        validating.append((real, generated))
    calibrators, validation = fit_calibrators(config.calibration, validating)
    real, generated = (combine(sides[side], held[side], calibrators)[0] for side in (REAL, GENERATED))
    return (real, generated), validation
