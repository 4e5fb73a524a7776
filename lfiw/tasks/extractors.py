"""The extractors that a configuration names, for a data module's samples."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from pytorch_lightning import Trainer

from lfiw.errors import InputError
from lfiw.evaluation.module import FeatureColumn, LogitColumn
from lfiw.features import EXTRACTORS, Extractor, FeatureOptions, build_extractor
from lfiw.features.extraction import extract
from lfiw.ratio.mixed import MixedDataModule
from lfiw.schemas import Config, Features


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


def feature_columns(extractors: Mapping[str, Extractor], names: Sequence[str]) -> list[FeatureColumn]:
    """The columns for FID and KID; all but those of the main extractor are labelled by its name."""
    named = [(name, extractors[name]) for name in names]
    return [
        FeatureColumn(e.columns["features"], e.num_features, f"@{n}" if i else "") for i, (n, e) in enumerate(named)
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
