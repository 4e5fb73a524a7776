"""Sets of drawings of one class: what a data augmentation GAN is trained on."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int64
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lfiw.data.batches import EpochBatches, TrainingLoader, batch_loader, mix_seeds
from lfiw.data.splits import Batch
from lfiw.data.table import Table, table_name
from lfiw.errors import InputError

PARENT = "parent"  # column: row of the drawing that was given, in the table that the cache's source names


def rows_of_classes(labels: Int64[Tensor, " n"]) -> dict[int, Int64[Tensor, " rows"]]:
    """Class → its rows, ascending; classes ascending."""
    order = labels.argsort(stable=True)
    classes, counts = labels[order].unique_consecutive(return_counts=True)
    return dict(zip(classes.tolist(), order.split(counts.tolist()), strict=True))


@dataclass(frozen=True)
class SetIndex:
    """One batch of sets.

    Args:
        rows: of the table, those of a set together.
        seed: of what is random in the step.
    """

    rows: Int64[Tensor, "sets members"]
    seed: int


class SetBatches(EpochBatches[SetIndex]):
    """Batches of sets: a class each, uniform, and different rows of it, uniform.

    Args:
        rows: of each class.
        set_size: rows of a set.
        batch_size: sets per step.
        num_batches: steps an epoch.

    Raises:
        InputError: a class has fewer rows than a set.
    """

    def __init__(
        self,
        rows: dict[int, Tensor],
        *,
        set_size: int,
        batch_size: int,
        num_batches: int,
        seed: int,
    ) -> None:
        for label, of_class in rows.items():
            if len(of_class) < set_size:
                raise InputError(f"class {label} has {len(of_class)} rows, a set takes {set_size}: leave the class out")
        self.rows = list(rows.values())
        self.set_size, self.batch_size = set_size, batch_size
        super().__init__(num_batches, seed)

    def draw(self, generator: torch.Generator) -> Iterator[SetIndex]:
        for _ in range(self.num_batches):
            classes = torch.randint(len(self.rows), (self.batch_size,), generator=generator).tolist()
            sets = [
                self.rows[c][torch.randperm(len(self.rows[c]), generator=generator)[: self.set_size]] for c in classes
            ]
            seed = int(torch.randint(2**62, (), generator=generator))
            yield SetIndex(torch.stack(sets), seed)


class RowSets(Dataset[Batch]):
    """`image`: (sets, set size, c, h, w); `row`: (sets, set size); `seed`: of what is random in the step."""

    def __init__(self, table: Table) -> None:
        self.name, self.images = table_name(table), table["image"]

    def __getitem__(self, index: SetIndex) -> Batch:
        images = self.images[index.rows.flatten()].unflatten(0, tuple(index.rows.shape))
        return {"image": images, "row": index.rows, "seed": torch.tensor(index.seed)}

    def rows_of(self, batch: Batch) -> list[dict[str, Any]]:
        """The rows of a batch, set by set."""
        return [{"table": self.name, "rows": batch["row"].flatten().tolist()}]


class DrawingSetsDataModule(LightningDataModule):
    """Sets of different drawings of one character, from a table with `image` and `label`.

    Args:
        table: of drawings (tools/cache_dataset.py omniglot --split background).
        set_size: drawings a set: the given one and those that the generator answers with.
        validation_classes: the last so many classes never train; sample grids and validation show them.
        batch_size: sets per step; steps_per_epoch: steps that make an epoch.

    Raises:
        InputError: the table has no image or label, classes are too few, or one has too few rows.
    """

    def __init__(
        self,
        table: Table,
        *,
        set_size: int,
        validation_classes: int,
        batch_size: int,
        steps_per_epoch: int,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if absent := {"image", "label"} - set(table.columns):
            raise InputError(f"{table} has no {' and no '.join(sorted(absent))}: make it by tools/cache_dataset.py")
        rows = rows_of_classes(table["label"])
        if validation_classes >= len(rows):
            raise InputError(
                f"data.validation_classes={validation_classes}: the table has {len(rows)} classes, and at least one "
                "has to train and one to validate"
            )
        self.table, self.set_size = table, set_size
        classes = list(rows)
        self.train_rows = {label: rows[label] for label in classes[:-validation_classes]}
        self.validation_rows = {label: rows[label] for label in classes[-validation_classes:]}
        self.batch_size, self.steps_per_epoch, self.seed = batch_size, steps_per_epoch, seed

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(channels, height, width)."""
        return self.table.column("image").shape

    def train_dataloader(self) -> DataLoader[Batch]:
        batches = self._batches(self.train_rows, self.steps_per_epoch, self.seed)
        return TrainingLoader(RowSets(self.table), batches)

    def val_dataloader(self) -> DataLoader[Batch]:
        """One batch, the same in every epoch."""
        return batch_loader(RowSets(self.table), list(self._batches(self.validation_rows, 1, mix_seeds(self.seed, 1))))

    def _batches(self, rows: dict[int, Tensor], num_batches: int, seed: int) -> SetBatches:
        return SetBatches(rows, set_size=self.set_size, batch_size=self.batch_size, num_batches=num_batches, seed=seed)
