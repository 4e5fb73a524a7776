"""Log-ratios of generated drawings, by classifiers that saw neither them nor the drawings they were made from."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Int64, UInt8
from pytorch_lightning.loggers import Logger
from torch import Tensor

from lfiw.data.splits import GENERATED, REAL, Subset, everything
from lfiw.data.table import ROW, Table, TensorTable, table_name
from lfiw.errors import InputError
from lfiw.ratio.classifier import RatioClassifier
from lfiw.ratio.cross_fitting import combine, members_of, train_members
from lfiw.ratio.mixed import MixedDataModule
from lfiw.schemas import Config, Conv4, Optimizer
from lfiw.tasks.augmentation.omniglot import OmniglotDataModule
from lfiw.training.trainer import best_checkpoint
from lfiw.weighting.calibration import Sides, Validation, fit_calibrators


class DrawingFoldsDataModule(MixedDataModule):
    """Folds that are given and not drawn: each holds out its drawings and all that was generated from them.

    Fold k's classifier never sees the rows of fold k, validates on those of fold k + 1 and trains on the rest.

    The tables have a column `fold`, and there are at least 3 folds.
    """

    def _split_side(self, side: int) -> list[dict[str, Subset]]:
        table: Table | None = (self.real, self.generated)[side]
        assert table is not None
        fold_of = table["fold"]
        parts = []
        for fold in range(self.folds):
            held_out, validation = fold_of == fold, fold_of == (fold + 1) % self.folds
            rows = {"held_out": held_out, "validation": validation, "train": ~(held_out | validation)}
            parts.append({name: Subset(table, chosen.nonzero().squeeze(1)) for name, chosen in rows.items()})
        return [{**part, "evaluation": everything(table)} for part in parts]


def assign_folds(labels: Int64[Tensor, " n"], folds: int) -> Int64[Tensor, " n"]:
    """The fold of each row: the rows of a class in turn, so that every fold has some of each class.

    Raises:
        InputError: a class has fewer rows than there are folds.
    """
    place = torch.zeros_like(labels)
    for label in labels.unique():
        rows = (labels == label).nonzero().squeeze(1)
        if len(rows) < folds:
            raise InputError(
                f"folds={folds}: class {int(label)} has {len(rows)} training drawings: use at most so many"
            )
        place[rows] = torch.arange(len(rows))
    return place % folds


def class_means(
    images: UInt8[Tensor, "n c h w"], labels: Int64[Tensor, " n"], fold_of: Int64[Tensor, " n"], folds: int
) -> UInt8[Tensor, "classes folds c h w"]:
    """For each class and fold the mean of the class's drawings in the other folds.

    Of rows of fold k this is what is known of the class apart from themselves, whichever classifier sees them.
    """
    num_classes = int(labels.max()) + 1
    sums = torch.zeros(num_classes, folds, *images.shape[1:])
    counts = torch.zeros(num_classes, folds)
    sums.index_put_((labels, fold_of), images.float(), accumulate=True)
    counts.index_put_((labels, fold_of), torch.ones(len(labels)), accumulate=True)
    others, left = sums.sum(1, keepdim=True) - sums, counts.sum(1, keepdim=True) - counts
    return (others / left.clamp(min=1)[..., None, None, None]).round().to(torch.uint8)


def drawing_folds(
    drawings: Table, generated: Table, parents: Int64[Tensor, " m"], folds: int, *, class_conditional: bool
) -> dict[int, TensorTable]:
    """Side → the table of `DrawingFoldsDataModule`; with the class's mean drawing as further channels if conditional.

    Args:
        drawings: that train, with `image` and `label` 0 … classes − 1.
        generated: with the same columns.
        parents: row of `drawings` that each generated row was made from.
    """
    fold_of = assign_folds(drawings["label"], folds)
    sides = {REAL: (drawings, fold_of), GENERATED: (generated, fold_of[parents])}
    images = {side: table["image"] for side, (table, _) in sides.items()}
    if class_conditional:
        means = class_means(drawings["image"], drawings["label"], fold_of, folds)
        for side, (table, fold) in sides.items():
            images[side] = torch.cat([images[side], means[table["label"], fold]], dim=1)
    found = {}
    for side, (table, fold) in sides.items():
        rows = table[ROW] if ROW in table.columns else torch.arange(len(table))
        found[side] = TensorTable({"image": images[side], "fold": fold, ROW: rows}, table_name(table))
    return found


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

    members = members_of(config.folds, config.ensemble)
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
