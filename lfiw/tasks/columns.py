"""Columns that a task computes in the tables."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from lfiw.data import SampleCache
from lfiw.data.cache.remote import cache_folder
from lfiw.data.in_order import InOrderDataModule
from lfiw.data.mixed import MixedDataModule
from lfiw.features import EXTRACTORS, Extractor, FeatureOptions, build_extractor
from lfiw.files import check_writable
from lfiw.modules.extraction import ColumnsWriter, FeatureExtraction
from lfiw.schemas import Features


def extractor_for(name: str, datamodule: MixedDataModule, features: Features) -> Extractor:
    """The extractor of that name for the data module's samples; its weights, or those that the data set makes."""
    shape = datamodule.tables["real"].column(datamodule.samples).shape
    return build_extractor(name, shape, feature_options(features, datamodule))


def feature_options(features: Features, datamodule: MixedDataModule) -> FeatureOptions:
    """The configuration's options; the classifier that a data set makes stands in for one that is not named."""
    weights = features.classifier_weights or datamodule.classifier_weights
    return FeatureOptions(**{**asdict(features), "classifier_weights": weights})


def extract(trainer: Trainer, extractor: Extractor, datamodule: MixedDataModule) -> None:
    """The extractor's features and logits of every row of every table, unless they are there already."""
    module = FeatureExtraction(extractor, datamodule.samples)
    write_columns(
        trainer,
        module,
        datamodule,
        datamodule.samples,
        extractor.columns,
        extractor.stamp,
        most=extractor.batch_size,
    )


def prepare_input(trainer: Trainer, datamodule: MixedDataModule, features: Features) -> None:
    """If the classifier is to see the features of an extractor (data.input=features/NAME), compute them."""
    name = datamodule.input.removeprefix("features/")
    if name == datamodule.input or name not in EXTRACTORS:
        return
    extractor = extractor_for(name, datamodule, features)
    extract(trainer, extractor, datamodule)
    datamodule.input = extractor.columns["features"]


def write_columns(
    trainer: Trainer,
    module: LightningModule,
    datamodule: MixedDataModule,
    input: str,
    columns: Mapping[str, str],
    stamp: Mapping[str, Any],
    *,
    most: int | None = None,
) -> None:
    """One pass of `module.predict_step` over the tables that lack its columns, each process its own rows.

    What an interrupted pass has left is kept: this one computes the rest.

    Args:
        most: rows a step, where the module is slow; none: as many as the data module's.
    """
    lacking = [cache for cache in distinct_caches(datamodule) if not has_columns(cache, columns.values(), stamp)]
    if not lacking:
        return
    writer = ColumnsWriter(lacking, columns, stamp)
    rows = InOrderDataModule(
        writer.missing,
        [input],
        batch_size=min(datamodule.evaluation_batch_size, most or datamodule.evaluation_batch_size),
        num_workers=datamodule.num_workers,
    )
    trainer.callbacks.append(writer)  # type: ignore[attr-defined]
    try:
        trainer.predict(module, datamodule=rows, return_predictions=False)
    finally:
        trainer.callbacks.remove(writer)  # type: ignore[attr-defined]
    for cache in lacking:
        cache.refresh()


def check_columns_can_be_added(datamodule: MixedDataModule) -> None:
    """Raises InputError for a table, as on a read-only mount, that a run could not write its columns into."""
    for cache in distinct_caches(datamodule):
        check_writable(
            cache.path / "columns",
            "a run adds columns to the caches that it scores (features, log-ratios): copy the cache, or name it by a "
            f"URL, file://{cache.path}, whose columns go to {cache_folder()}",
        )


def distinct_caches(datamodule: MixedDataModule) -> list[SampleCache]:
    """The tables on disk; one that holds samples of both sides only once."""
    caches = {id(table): table for table in datamodule.tables.values() if isinstance(table, SampleCache)}
    return list(caches.values())


def has_columns(cache: SampleCache, names: Iterable[str], stamp: Mapping[str, Any]) -> bool:
    """Whether the cache has all of these columns, computed by just this."""
    return all(name in cache.columns and cache.column(name).stamp == stamp for name in names)
