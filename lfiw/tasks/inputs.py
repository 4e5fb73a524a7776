"""What a configuration names: data modules, extractors, and a trained run as a function of samples."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from pytorch_lightning import Trainer
from torch import Tensor

from lfiw.config import load
from lfiw.data import SampleCache
from lfiw.data.splits import REAL
from lfiw.errors import InputError
from lfiw.evaluation.module import FeatureColumn, LogitColumn
from lfiw.features import (
    Extractor,
    FeatureOptions,
    Standardised,
    StoredFeatures,
    build_extractor,
    column_name,
    is_computed,
)
from lfiw.features.extraction import concatenate, extract
from lfiw.features.stored import check_same_origin
from lfiw.ratio.classifier import load_by_input
from lfiw.ratio.digits import DigitsDataModule, SkewedDataModule
from lfiw.ratio.mixed import MixedDataModule
from lfiw.schemas import CachedData, Config, DigitsData, Features, PoliciesData, RealData, SkewedData, ToyData


def extractor_for(name: str, datamodule: MixedDataModule, features: Features) -> Extractor:
    """The extractor of that name for the data module's samples; its weights, or those that the data set makes."""
    shape = datamodule.tables["real"].column(datamodule.samples).shape
    return build_extractor(name, shape, feature_options(features, datamodule), datamodule.tables)


def feature_options(features: Features, datamodule: MixedDataModule) -> FeatureOptions:
    """The configuration's options; the classifier that a data set makes stands in for one that is not named."""
    weights = features.classifier_weights or datamodule.classifier_weights
    return FeatureOptions(
        **{**asdict(features), "classifier_weights": weights},
        real=lambda: datamodule.fitted_rows(REAL).column(datamodule.samples),
    )


def build_extractors(config: Config, datamodule: MixedDataModule) -> dict[str, Extractor]:
    """The extractors for FID and KID, and the classifier for IS, by name."""
    if not config.evaluation.extractors:
        raise InputError("evaluation.extractors is empty: name at least one")
    names = dict.fromkeys([*config.evaluation.extractors, config.metrics.inception_score.classifier])
    return {name: extractor_for(name, datamodule, config.features) for name in names if name}


def extract_all(trainer: Trainer, extractor: Extractor, datamodule: MixedDataModule) -> None:
    """The extractor's columns in every table of the data module."""
    if isinstance(extractor, StoredFeatures):
        return
    extract(trainer, extractor, datamodule.tables.values(), datamodule.samples, **datamodule.reading)


def prepare_inputs(trainer: Trainer, datamodule: MixedDataModule, features: Features, join: str) -> None:
    """Computes what the classifiers are to see where it is features (data.input=features/NAME).

    Args:
        join: a name in `lfiw.schemas.JOINS`; several inputs that are to be concatenated become one.
    """
    datamodule.inputs = [prepared_input(trainer, datamodule, column, features) for column in datamodule.inputs]
    if join == "concatenate" and len(datamodule.inputs) > 1:
        parts = datamodule.inputs
        datamodule.input = concatenate(trainer, datamodule.tables.values(), parts, **datamodule.reading)
        datamodule.concatenated = parts


def prepared_input(trainer: Trainer, datamodule: MixedDataModule, column: str, features: Features) -> str:
    """The column itself, or, of features that an extractor computes, the one that it has written."""
    name = column.removeprefix("features/")
    if name == column:
        return column
    if name == Standardised.name:
        raise InputError(f"data.input={column}: the classifier standardises its input by itself; use data.input=vector")
    if is_computed(name):
        extractor = extractor_for(name, datamodule, features)
        extract_all(trainer, extractor, datamodule)
        return extractor.columns["features"]
    tables = datamodule.tables
    if all(column in table.columns for table in tables.values()):
        check_same_origin(column, tables.values())
    return column


def feature_columns(
    extractors: Mapping[str, Extractor], names: Sequence[str], inputs: Sequence[str]
) -> list[FeatureColumn]:
    """The columns for FID and KID; all but those of the main extractor are labelled by its name.

    Args:
        inputs: the columns that the ratio's classifiers see; pixels, and standardised vectors, are the samples.
    """
    from_samples = not {"image", "vector"}.isdisjoint(inputs)
    named = [(name, extractors[name]) for name in names]
    return [
        FeatureColumn(
            e.columns["features"],
            e.num_features,
            f"@{e.name}" if i else "",
            seen=e.columns["features"] in inputs or (n in ("pixels", "standardised") and from_samples),
        )
        for i, (n, e) in enumerate(named)
    ]


def logit_columns(classifier: str | None, extractors: Mapping[str, Extractor], main: str) -> list[LogitColumn]:
    """The columns for IS: those of the main extractor, if it has logits, and of the classifier, labelled by its name.

    Raises:
        InputError: the classifier has no class logits.
    """
    if classifier is not None and not extractors[classifier].num_classes:
        raise InputError(
            f"metrics.inception_score.classifier={classifier} has no class logits; use null for those of {main}, if it "
            "has any"
        )
    named = {name: extractors[name] for name in (main, classifier) if name}
    return [
        LogitColumn(e.columns["logits"], e.num_classes, "" if name == main else f"@{e.name}")
        for name, e in named.items()
        if e.num_classes
    ]


def build_datamodule(
    data: CachedData | DigitsData | SkewedData | ToyData | RealData | PoliciesData, seed: int, folds: int
) -> MixedDataModule:
    """The data module that a configuration names.

    Raises:
        InputError: data of another task, a cache that cannot be read, or no row is left to score.
    """
    if isinstance(data, ToyData | PoliciesData):
        raise InputError(f"data.name={data.name} does not go with task=ratio; use digits, cached or skewed")
    if isinstance(data, RealData):
        raise InputError(f"data.name={data.name} has no generated side: it goes with task=generator")
    options = asdict(data)
    name = options.pop("name")
    scored_apart = options.get("real_evaluation") and (options.get("generated_evaluation") or folds > 1)
    if not data.fractions.evaluation > 0 and not scored_apart:
        raise InputError("data.fractions.evaluation=0 leaves no row to score: give it a share of the rows")
    if name == "digits":
        return DigitsDataModule(**options, seed=seed, folds=folds)
    if name == "skewed":
        table, held_out = options.pop("cache"), options.pop("real_evaluation")
        apart = SampleCache(held_out) if held_out else None
        return SkewedDataModule(SampleCache(table), real_evaluation=apart, **options, seed=seed, folds=folds)
    paths = {side: options.pop(side) for side in ("real", "generated", "real_evaluation", "generated_evaluation")}
    caches: dict[str, Any] = {side: SampleCache(path) if path else None for side, path in paths.items()}
    return MixedDataModule(**caches, **options, seed=seed, folds=folds)


class Scorer:
    """Log-ratios of new samples by a run's classifiers.

    Args:
        run: folder of a finished run.

    Attributes:
        classifiers: column → the classifier, or the ensemble, that sees it. Features that a batch lacks are extracted
            from its `image`.

    Raises:
        InputError: no classifier there, or (when called) samples that it was not trained on.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.classifiers = load_by_input(run)
        self._extractors: dict[str, Extractor] = {}

    def __call__(self, batch: Mapping[str, Tensor]) -> Float[Tensor, " n"]:
        """The mean over the inputs."""
        log_ratios = [c.log_ratio(self._values(column, batch)) for column, c in self.classifiers.items()]
        return torch.stack(log_ratios).mean(0)

    def classes(self, name: str, column: str, batch: Mapping[str, Tensor]) -> Int64[Tensor, " n"]:
        """The class of each sample, as the run's evaluation told classes.

        Args:
            name, column: the extractor and its logits; or `label`, for the samples' own.

        Raises:
            InputError: the samples have neither these labels nor images to classify.
        """
        if column in batch:
            return batch[column] if name == column else batch[column].argmax(dim=1)
        if "image" not in batch or name == column:
            raise InputError(f"{self.run} tells classes by column {column!r}, the samples have {', '.join(batch)}")
        if column not in self._extractors:
            self._extractors[column] = self._build(name, "logits", column, batch["image"])
        with torch.inference_mode():
            return self._extractors[column](batch["image"])["logits"].argmax(dim=1)

    @cached_property
    def _config(self) -> Config:
        return load(self.run).config

    def _values(self, column: str, batch: Mapping[str, Tensor]) -> Tensor:
        if column in batch:
            return batch[column]
        if not column.startswith("features/") or "image" not in batch:
            raise InputError(f"{self.run} was trained on column {column!r}, the samples have {', '.join(batch)}")
        if self._config.join == "concatenate" and "+" in column:
            parts = column.removeprefix("features/").split("+")
            return torch.cat([self._values(f"features/{part}", batch) for part in parts], dim=1)
        if column not in self._extractors:
            self._extractors[column] = self._extractor_of_input(column, batch["image"])
        with torch.inference_mode():
            return self._extractors[column](batch["image"])["features"]

    def _extractor_of_input(self, column: str, images: Tensor) -> Extractor:
        for name in (input.removeprefix("features/") for input in self._config.data.input):
            if is_computed(name) and column.startswith(f"features/{column_name(name)}"):
                return self._build(name, "features", column, images)
        raise InputError(
            f"{self.run} was trained on column {column!r}, which no extractor computes: new samples cannot be scored"
        )

    def _build(self, name: str, output: str, column: str, images: Tensor) -> Extractor:
        """The extractor of that name, which must make this column."""
        config = self._config
        options = feature_options(config.features, build_datamodule(config.data, config.seed, config.folds))
        extractor = build_extractor(name, images.shape[1:], options)
        if (found := extractor.columns[output]) != column:
            raise InputError(f"{self.run} was made with {column}; these weights make {found}")
        return extractor
