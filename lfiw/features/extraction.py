"""Features and other columns computed in one pass over the tables that lack them."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Int64
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from lfiw.data import ColumnWriter, SampleCache, Table
from lfiw.data.cache.remote import cache_folder
from lfiw.data.splits import InOrderDataModule, Subset
from lfiw.errors import InputError
from lfiw.features import Extractor
from lfiw.files import check_writable

POSITION = "position"  # of a row within its subset, in a batch
GPU_BATCH = 256  # rows that keep a GPU busy, and take about 3 GB with Inception in float32


class FeatureExtraction(LightningModule):
    """Runs an extractor over the samples of a table: a column of images or vectors."""

    def __init__(self, extractor: Extractor, column: str) -> None:
        super().__init__()
        self.extractor, self.column = extractor, column

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        return self.extractor(batch[self.column])


class Computed:
    """What a batch gave, on its way from the device to pinned memory, while the host continues.

    Args:
        table: number of the table that the rows belong to.
        outputs: name → (rows, …).
    """

    def __init__(self, table: int, outputs: Mapping[str, Tensor]) -> None:
        self.table = table
        self.values = {name: values.to("cpu", non_blocking=values.is_cuda) for name, values in outputs.items()}
        on_gpu = any(values.is_cuda for values in outputs.values())
        self.copied = torch.cuda.current_stream().record_event() if on_gpu else None

    def on_host(self) -> dict[str, Tensor]:
        """Returns the values once they are there."""
        if self.copied is not None:
            self.copied.synchronize()
        return self.values


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
        self._computed: Computed | None = None  # on a GPU by the batch before, and not yet written

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
        now = Computed(dataloader_idx, {**outputs, POSITION: batch[POSITION]})
        if now.copied is None:
            self._write(now)
        else:  # written while the GPU computes the next batch
            before, self._computed = self._computed, now
            self._write(before)

    def _write(self, computed: "Computed | None") -> None:
        if computed is None:
            return
        values = computed.on_host()
        rows = self._missing[computed.table].rows[values[POSITION]]
        for output, writer in self._writers[computed.table].items():
            writer.write_rows(rows, values[output])

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(self._computed)
        self._computed = None
        self._open.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._open.__exit__(type(exception), exception, exception.__traceback__)


def missing_rows(writers: Iterable[ColumnWriter]) -> Int64[Tensor, " n"]:
    """The rows that one of the columns lacks, ascending; the first row where none does, for a pass is never empty."""
    ranges = [torch.arange(start, stop) for writer in writers for start, stop in writer.missing()]
    return torch.cat(ranges).unique() if ranges else torch.zeros(1, dtype=torch.int64)


def extract(
    trainer: Trainer, extractor: Extractor, tables: Iterable[Table], samples: str, *, batch_size: int, num_workers: int
) -> None:
    """Computes the extractor's features and logits for every row of every table on disk that lacks them.

    Args:
        samples: the column of the samples, `image` or `vector`.
        batch_size: rows per step and process; a slow extractor takes fewer.
    """
    module = FeatureExtraction(extractor, samples)
    most = extractor.batch_size or batch_size
    if trainer.strategy.root_device.type != "cpu":
        most = max(most, GPU_BATCH)
    size = min(batch_size, most)
    write_columns(
        trainer, module, tables, samples, extractor.columns, extractor.stamp, batch_size=size, num_workers=num_workers
    )


def write_columns(
    trainer: Trainer,
    module: LightningModule,
    tables: Iterable[Table],
    input: str | Sequence[str],
    columns: Mapping[str, str],
    stamp: Mapping[str, Any],
    *,
    batch_size: int,
    num_workers: int,
) -> None:
    """Runs `module.predict_step` once over the tables that lack its columns; each process computes its own rows.

    Rows that an interrupted pass has written are not computed again.

    Args:
        input: the column that a batch holds, or several.
        columns: output of `predict_step` → name of the column.
        stamp: what computes them.
        batch_size: rows per step and process.
    """
    lacking = [cache for cache in distinct_caches(tables) if not has_columns(cache, columns.values(), stamp)]
    if not lacking:
        return
    writer = ColumnsWriter(lacking, columns, stamp)
    inputs = [input] if isinstance(input, str) else input
    rows = InOrderDataModule(writer.missing, inputs, batch_size=batch_size, num_workers=num_workers)
    trainer.callbacks.append(writer)  # type: ignore[attr-defined]
    try:
        trainer.predict(module, datamodule=rows, return_predictions=False)
    finally:
        trainer.callbacks.remove(writer)  # type: ignore[attr-defined]
    for cache in lacking:
        cache.refresh()


class Concatenation(LightningModule):
    """Puts features side by side."""

    def __init__(self, columns: Sequence[str]) -> None:
        super().__init__()
        self.columns = list(columns)

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        return {"features": torch.cat([batch[column] for column in self.columns], dim=1)}


def concatenate(
    trainer: Trainer, tables: Iterable[Table], columns: Sequence[str], *, batch_size: int, num_workers: int
) -> str:
    """Writes several feature columns side by side into one, in every table on disk → the column's name.

    Raises:
        InputError: a column of something else than features.
    """
    if other := next((name for name in columns if not name.startswith("features/")), None):
        raise InputError(f"join=concatenate puts columns features/… side by side, not {other!r}: use join=mean")
    name = f"features/{'+'.join(column.removeprefix('features/') for column in columns)}"
    for cache in distinct_caches(tables):
        stamp = {"name": "concatenation", "parts": [[column, cache.column(column).stamp] for column in columns]}
        write_columns(
            trainer,
            Concatenation(columns),
            [cache],
            columns,
            {"features": name},
            stamp,
            batch_size=batch_size,
            num_workers=num_workers,
        )
    return name


def check_columns_can_be_added(tables: Iterable[Table]) -> None:
    """Raises InputError for a table, as on a read-only mount, that a run could not write its columns into."""
    for cache in distinct_caches(tables):
        check_writable(
            cache.path / "columns",
            "a run adds columns to the caches that it scores (features, log-ratios): copy the cache, or name it by a "
            f"URL, file://{cache.path}, whose columns go to {cache_folder()}",
        )


def distinct_caches(tables: Iterable[Table]) -> list[SampleCache]:
    """The tables on disk; one that holds samples of both sides only once."""
    return list({id(table): table for table in tables if isinstance(table, SampleCache)}.values())


def has_columns(cache: SampleCache, names: Iterable[str], stamp: Mapping[str, Any]) -> bool:
    """Whether the cache has all of these columns, computed by just this."""
    return all(name in cache.columns and cache.column(name).stamp == stamp for name in names)
