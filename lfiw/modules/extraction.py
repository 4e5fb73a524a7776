"""Columns computed by a pass of `trainer.predict`: features, logits, log-ratios."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Int64
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from lfiw.data import ColumnWriter, SampleCache
from lfiw.data.splits import Subset
from lfiw.features import Extractor


class FeatureExtraction(LightningModule):
    """Runs an extractor over the samples of a table: a column of images or vectors."""

    def __init__(self, extractor: Extractor, column: str) -> None:
        super().__init__()
        self.extractor, self.column = extractor, column

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        return self.extractor(batch[self.column])


class ColumnsWriter(Callback):
    """Writes what `predict_step` returns into columns of the tables behind the loaders; each process its own rows.

    Args:
        tables: one a loader; the loaders pass through the rows that `missing` names.
        columns: output of `predict_step` → name of the column.
        stamp: what computes them.
    """

    def __init__(self, tables: Sequence[SampleCache], columns: Mapping[str, str], stamp: Mapping[str, Any]) -> None:
        self.tables, self.columns, self.stamp = list(tables), dict(columns), dict(stamp)
        self._writers: list[dict[str, ColumnWriter]] = []
        self._missing: list[Subset] = []
        self._open = ExitStack()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # here, where the processes know of one another and the loaders are not yet made
        self._writers = [
            {
                output: self._open.enter_context(self._writer(table, name, trainer))
                for output, name in self.columns.items()
            }
            for table in self.tables
        ]
        self._missing = [
            Subset(table, missing_rows(writers.values()))
            for table, writers in zip(self.tables, self._writers, strict=True)
        ]

    def missing(self) -> list[list[Subset]]:
        """A pass for each table: the rows that no interrupted pass has left."""
        return [[subset] for subset in self._missing]

    def _writer(self, table: SampleCache, name: str, trainer: Trainer) -> ColumnWriter:
        return ColumnWriter(
            table,
            name,
            stamp=self.stamp,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            barrier=trainer.strategy.barrier,
        )

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        rows = self._missing[dataloader_idx].rows[batch["position"].cpu()]
        for output, writer in self._writers[dataloader_idx].items():
            writer.write_rows(rows, outputs[output].cpu())

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._open.__exit__(type(exception), exception, exception.__traceback__)


def missing_rows(writers: Iterable[ColumnWriter]) -> Int64[Tensor, " n"]:
    """The rows that one of the columns lacks, ascending; the first row where none does, for a pass is never empty."""
    ranges = [torch.arange(start, stop) for writer in writers for start, stop in writer.missing()]
    return torch.cat(ranges).unique() if ranges else torch.zeros(1, dtype=torch.int64)
