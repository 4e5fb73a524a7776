"""Columns computed by a pass of `trainer.predict`: features, logits, log-ratios."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from lfiw.data import ColumnWriter, SampleCache
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
        tables: one a loader; the loader passes through all rows in order (`MixedDataModule.in_order`).
        columns: output of `predict_step` → name of the column.
        stamp: what computes them.
    """

    def __init__(self, tables: Sequence[SampleCache], columns: Mapping[str, str], stamp: Mapping[str, Any]) -> None:
        self.tables, self.columns, self.stamp = list(tables), dict(columns), dict(stamp)
        self._writers: list[dict[str, ColumnWriter]] = []
        self._open = ExitStack()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._writers = [
            {
                output: self._open.enter_context(self._writer(table, name, trainer))
                for output, name in self.columns.items()
            }
            for table in self.tables
        ]

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
        for output, writer in self._writers[dataloader_idx].items():
            writer.write_rows(batch["position"].cpu(), outputs[output].cpu())

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._open.__exit__(type(exception), exception, exception.__traceback__)
