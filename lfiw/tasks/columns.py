"""Columns that a pass over the tables computes: features, logits, log-ratios."""

from collections.abc import Iterable, Mapping
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from lfiw.data import SampleCache, Table
from lfiw.data.cache.remote import cache_folder
from lfiw.data.in_order import InOrderDataModule
from lfiw.features import Extractor
from lfiw.files import check_writable
from lfiw.modules.extraction import ColumnsWriter, FeatureExtraction


def extract(
    trainer: Trainer, extractor: Extractor, tables: Iterable[Table], samples: str, *, batch_size: int, num_workers: int
) -> None:
    """Computes the extractor's features and logits for every row of every table on disk that lacks them.

    Args:
        samples: the column of the samples, `image` or `vector`.
        batch_size: rows per step and process; a slow extractor takes fewer.
    """
    module = FeatureExtraction(extractor, samples)
    size = min(batch_size, extractor.batch_size or batch_size)
    write_columns(
        trainer, module, tables, samples, extractor.columns, extractor.stamp, batch_size=size, num_workers=num_workers
    )


def write_columns(
    trainer: Trainer,
    module: LightningModule,
    tables: Iterable[Table],
    input: str,
    columns: Mapping[str, str],
    stamp: Mapping[str, Any],
    *,
    batch_size: int,
    num_workers: int,
) -> None:
    """Runs `module.predict_step` once over the tables that lack its columns; each process computes its own rows.

    Rows that an interrupted pass has written are not computed again.

    Args:
        input: the column that a batch holds.
        columns: output of `predict_step` → name of the column.
        stamp: what computes them.
        batch_size: rows per step and process.
    """
    lacking = [cache for cache in distinct_caches(tables) if not has_columns(cache, columns.values(), stamp)]
    if not lacking:
        return
    writer = ColumnsWriter(lacking, columns, stamp)
    rows = InOrderDataModule(writer.missing, [input], batch_size=batch_size, num_workers=num_workers)
    trainer.callbacks.append(writer)  # type: ignore[attr-defined]
    try:
        trainer.predict(module, datamodule=rows, return_predictions=False)
    finally:
        trainer.callbacks.remove(writer)  # type: ignore[attr-defined]
    for cache in lacking:
        cache.refresh()


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
