"""What a configuration names: data modules, extractors, and a trained run as a function of samples."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pytorch_lightning import Trainer
from torch import Tensor

from lfiw.config import load
from lfiw.data import SampleCache
from lfiw.errors import InputError
from lfiw.evaluation.module import FeatureColumn, LogitColumn
from lfiw.features import EXTRACTORS, Extractor, FeatureOptions, build_extractor
from lfiw.features.extraction import extract
from lfiw.ratio.classifier import RatioClassifier
from lfiw.ratio.digits import DigitsDataModule, SkewedDataModule
from lfiw.ratio.mixed import MixedDataModule
from lfiw.schemas import CachedData, Config, DigitsData, Features, PoliciesData, RealData, SkewedData, ToyData


def extractor_for(name: str, datamodule: MixedDataModule, features: Features) -> Extractor:
    """The extractor of that name for the data module's samples; its weights, or those that the data set makes."""
    shape = datamodule.tables["real"].column(datamodule.samples).shape
    return build_extractor(name, shape, feature_options(features, datamodule))


def feature_options(features: Features, datamodule: MixedDataModule) -> FeatureOptions:
    """The configuration's options; the classifier that a data set makes stands in for one that is not named."""
    weights = features.classifier_weights or datamodule.classifier_weights
    return FeatureOptions(**{**asdict(features), "classifier_weights": weights})


def build_extractors(config: Config, datamodule: MixedDataModule) -> dict[str, Extractor]:
    """The extractors for FID and KID, and the classifier for IS, by name."""
    if not config.evaluation.extractors:
        raise InputError("evaluation.extractors is empty: name at least one")
    names = dict.fromkeys([*config.evaluation.extractors, config.metrics.inception_score.classifier])
    return {name: extractor_for(name, datamodule, config.features) for name in names if name}


def extract_all(trainer: Trainer, extractor: Extractor, datamodule: MixedDataModule) -> None:
    """The extractor's columns in every table of the data module."""
    extract(trainer, extractor, datamodule.tables.values(), datamodule.samples, **datamodule.reading)


def prepare_input(trainer: Trainer, datamodule: MixedDataModule, features: Features) -> None:
    """If the classifier is to see the features of an extractor (data.input=features/NAME), compute them."""
    name = datamodule.input.removeprefix("features/")
    if name == datamodule.input or name not in EXTRACTORS:
        return
    extractor = extractor_for(name, datamodule, features)
    extract_all(trainer, extractor, datamodule)
    datamodule.input = extractor.columns["features"]


def feature_columns(extractors: Mapping[str, Extractor], names: Sequence[str], input: str) -> list[FeatureColumn]:
    """The columns for FID and KID; all but those of the main extractor are labelled by its name.

    Args:
        input: the column that the ratio's classifiers see; pixels are those of the samples themselves.
    """
    named = [(name, extractors[name]) for name in names]
    return [
        FeatureColumn(
            e.columns["features"],
            e.num_features,
            f"@{n}" if i else "",
            seen=input == e.columns["features"] or (n == "pixels" and input in ("image", "vector")),
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
        LogitColumn(e.columns["logits"], e.num_classes, "" if name == main else f"@{name}")
        for name, e in named.items()
        if e.num_classes
    ]


def build_datamodule(
    data: CachedData | DigitsData | SkewedData | ToyData | RealData | PoliciesData, seed: int, folds: int = 1
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
    """Log-ratios of new samples by a run's classifier.

    Args:
        run: folder of a finished run.

    Attributes:
        column: what the classifier sees; it is extracted from `image` where it is features that a batch lacks.

    Raises:
        InputError: no classifier there, or (when called) samples that it was not trained on.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.classifier = RatioClassifier.load(run)
        self.column: str = self.classifier.spec["column"]
        self._extractor: Extractor | None = None

    def __call__(self, batch: Mapping[str, Tensor]) -> Float[Tensor, " n"]:
        values = batch.get(self.column)
        if values is None and self.column.startswith("features/") and "image" in batch:
            with torch.inference_mode():
                values = self._extractor_of(batch["image"])(batch["image"])["features"]
        if values is None:
            raise InputError(f"{self.run} was trained on column {self.column!r}, the samples have {', '.join(batch)}")
        return self.classifier.log_ratio(values)

    def _extractor_of(self, images: Tensor) -> Extractor:
        if self._extractor is None:
            config = load(self.run).config
            name = self.column.removeprefix("features/").partition("-")[0]
            options = feature_options(config.features, build_datamodule(config.data, config.seed))
            extractor = build_extractor(name, images.shape[1:], options).eval()
            found = extractor.columns["features"]
            if found != self.column:
                raise InputError(f"{self.run} was trained on {self.column}; these weights make {found}")
            self._extractor = extractor
        return self._extractor
