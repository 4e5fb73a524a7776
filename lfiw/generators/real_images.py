"""The data module that generators train on: real images only."""

from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from lfiw.data.batches import RowsInOrder, ShuffledBatches, TrainingLoader, batch_loader
from lfiw.data.splits import Batch, MixedRows, Subset, split_rows
from lfiw.data.table import Table
from lfiw.errors import InputError

COLUMN = "image"


class RealDataModule(LightningDataModule):
    """Splits the images of one table into training and validation rows.

    Args:
        real: table with the column `image`, uint8 (c, h, w).
        validation: share of validation rows.
        split_seed, seed: that of the split; that of the batches and their augmentation.
        batch_size: rows per training step over all processes; evaluation_batch_size: rows per step and process.
        augment: a name in `lfiw.schemas.AUGMENTATIONS`.

    Raises:
        InputError: the table has no images, or no row is left to train or validate on.
    """

    def __init__(
        self,
        real: Table,
        *,
        validation: float = 0.1,
        split_seed: int = 0,
        seed: int = 0,
        batch_size: int = 64,
        evaluation_batch_size: int = 500,
        augment: str = "none",
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        column = real.column(COLUMN)
        if column.dtype != torch.uint8 or len(column.shape) != 3:
            raise InputError(
                f"{real}: column {COLUMN!r} is {column.dtype} of shape {column.shape}, expected images: torch.uint8 "
                "(channels, height, width)"
            )
        self.shape = column.shape
        rows = split_rows(len(real), {"train": 1 - validation, "validation": validation}, split_seed)
        self.subsets = {name: Subset(real, chosen) for name, chosen in rows.items()}
        self.seed, self.augment, self.num_workers = seed, augment, num_workers
        self.batch_size, self.evaluation_batch_size = batch_size, evaluation_batch_size

    def train_dataloader(self) -> DataLoader[Batch]:
        rows = MixedRows([self.subsets["train"]], [COLUMN], self.augment)
        rank, world_size = self._processes()
        batches = ShuffledBatches(
            len(rows), batch_size=self.batch_size, seed=self.seed, rank=rank, world_size=world_size
        )
        trainer: Any = self.trainer
        device = trainer.strategy.root_device if trainer else torch.device("cpu")
        on_gpu = device.type == "cuda"
        return TrainingLoader(rows, batches, self.num_workers, pin_memory=on_gpu, gpu=device if on_gpu else None)

    def val_dataloader(self) -> DataLoader[Batch]:
        rows = MixedRows([self.subsets["validation"]], [COLUMN])
        rank, world_size = self._processes()
        order = RowsInOrder(len(rows), batch_size=self.evaluation_batch_size, rank=rank, world_size=world_size)
        return batch_loader(rows, order, self.num_workers)

    def _processes(self) -> tuple[int, int]:
        trainer: Any = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
