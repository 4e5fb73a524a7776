"""Columns that a task computes in the tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from lfiw.data.in_order import InOrderDataModule
from lfiw.data.mixed import MixedDataModule
from lfiw.data.splits import everything
from lfiw.modules.extraction import ColumnsWriter


def log_ratio_column(run_dir: Path) -> str:
    """The column that a run writes."""
    return f"log_ratio/{run_dir.name}"


def write_columns(
    trainer: Trainer,
    module: LightningModule,
    datamodule: MixedDataModule,
    tables: Sequence[Any],
    input: str,
    columns: Mapping[str, str],
    stamp: Mapping[str, Any],
) -> None:
    """One pass of `module.predict_step` over all rows of the tables, its outputs kept as columns."""
    rows = InOrderDataModule(
        [[everything(table)] for table in tables],
        [input],
        batch_size=datamodule.evaluation_batch_size,
        num_workers=datamodule.num_workers,
    )
    writer = ColumnsWriter(tables, columns, stamp)
    trainer.callbacks.append(writer)  # type: ignore[attr-defined]
    try:
        trainer.predict(module, datamodule=rows, return_predictions=False)
    finally:
        trainer.callbacks.remove(writer)  # type: ignore[attr-defined]
