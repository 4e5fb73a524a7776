"""Images to features, by name."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from lfiw.data import Table
from lfiw.errors import InputError
from lfiw.features.dinov2 import DINOv2
from lfiw.features.extractor import Extractor, Pixels
from lfiw.features.hog import OrientedGradients
from lfiw.features.inception import InceptionFeatures
from lfiw.features.pretrained import LIBRARIES, PretrainedFeatures, pretrained, pretrained_name
from lfiw.features.resnet import ResNet56
from lfiw.features.small_classifier import Classifier
from lfiw.features.standardised import Standardised
from lfiw.features.stored import StoredFeatures, stored_names

__all__ = [
    "EXTRACTORS",
    "Classifier",
    "DINOv2",
    "Extractor",
    "FeatureOptions",
    "InceptionFeatures",
    "Pixels",
    "PretrainedFeatures",
    "ResNet56",
    "Standardised",
    "StoredFeatures",
    "build_extractor",
    "column_name",
    "is_computed",
]

Path = str | os.PathLike[str]


@dataclass(frozen=True)
class FeatureOptions:
    """Where the extractors find their weights, and the precision of Inception; keys as in `lfiw.schemas.Features`.

    Args:
        real: returns real rows that are not scored, from which `standardised` takes its units.
    """

    weights: Path | None = None
    precision: str = "fp32"
    classifier_weights: Path | None = None
    resnet56_weights: Path | None = None
    dinov2_weights: Path | None = None
    files: Sequence[str] = ()
    real: Callable[[], Tensor] | None = None


def _classifier(shape: Sequence[int], options: FeatureOptions) -> Extractor:
    if options.classifier_weights is None:
        raise InputError("extractor classifier: set features.classifier_weights to its weights")
    return Classifier(options.classifier_weights)


def _standardised(shape: Sequence[int], options: FeatureOptions) -> Extractor:
    if options.real is None:
        raise InputError("extractor standardised: it needs real rows, which task=ratio has")
    return Standardised(shape, options.real)


EXTRACTORS: dict[str, Callable[[Sequence[int], FeatureOptions], Extractor]] = {
    "pixels": lambda shape, _: Pixels(shape),
    "standardised": _standardised,
    "hog": lambda shape, _: OrientedGradients(shape),
    "classifier": _classifier,
    "inception": lambda shape, options: InceptionFeatures(shape, options.weights, options.precision),
    "resnet56": lambda shape, options: ResNet56(shape, options.resnet56_weights),
    "dinov2": lambda shape, options: DINOv2(shape, options.dinov2_weights),
}


def column_name(name: str) -> str:
    """How the columns of an extractor begin, after features/: `timm-NAME` of `timm:NAME`."""
    return pretrained_name(name) or name


def is_computed(name: str) -> bool:
    """Whether an extractor of that name computes features, which otherwise have to stand in the tables already."""
    return name in EXTRACTORS or pretrained_name(name) is not None


def build_extractor(
    name: str, shape: Sequence[int], options: FeatureOptions | None = None, tables: Mapping[str, Table] | None = None
) -> Extractor:
    """The extractor of that name for samples of that shape, in evaluation mode.

    Args:
        name: one of `EXTRACTORS`, `timm:NAME`, `torchvision:NAME`, or that of features that all tables have.
        tables: by what they hold.

    Raises:
        InputError: an unknown name, or its weights are missing or broken.
    """
    options = options or FeatureOptions()
    if name in EXTRACTORS:
        return EXTRACTORS[name](shape, options).eval()
    if network := pretrained_name(name):
        return pretrained(network, shape, options.files).eval()
    if name in stored_names(tables or {}):
        return StoredFeatures(name, tables or {}).eval()
    others = [f"{library}:NAME" for library in LIBRARIES]
    raise InputError(
        f"no extractor {name!r}; extractors: {', '.join([*EXTRACTORS, *others])}, and features that "
        "tools/cache_features.py added to every table"
    )
