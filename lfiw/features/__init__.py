"""Images to features, by name."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lfiw.errors import InputError
from lfiw.features.dinov2 import DINOv2
from lfiw.features.extractor import Extractor, Pixels
from lfiw.features.inception import InceptionFeatures
from lfiw.features.resnet import ResNet56
from lfiw.features.small_classifier import Classifier

__all__ = [
    "EXTRACTORS",
    "Classifier",
    "DINOv2",
    "Extractor",
    "FeatureOptions",
    "InceptionFeatures",
    "Pixels",
    "ResNet56",
    "build_extractor",
]

Path = str | os.PathLike[str]


@dataclass(frozen=True)
class FeatureOptions:
    """Where the extractors find their weights, and the precision of Inception; keys as in `lfiw.schemas.Features`."""

    weights: Path | None = None
    precision: str = "fp32"
    classifier_weights: Path | None = None
    resnet56_weights: Path | None = None
    dinov2_weights: Path | None = None


def _classifier(shape: Sequence[int], options: FeatureOptions) -> Extractor:
    if options.classifier_weights is None:
        raise InputError("extractor classifier: set features.classifier_weights to its weights")
    return Classifier(options.classifier_weights)


EXTRACTORS: dict[str, Callable[[Sequence[int], FeatureOptions], Extractor]] = {
    "pixels": lambda shape, _: Pixels(shape),
    "classifier": _classifier,
    "inception": lambda shape, options: InceptionFeatures(shape, options.weights, options.precision),
    "resnet56": lambda shape, options: ResNet56(shape, options.resnet56_weights),
    "dinov2": lambda shape, options: DINOv2(shape, options.dinov2_weights),
}


def build_extractor(name: str, shape: Sequence[int], options: FeatureOptions | None = None) -> Extractor:
    """The extractor of that name for samples of that shape, in evaluation mode.

    Raises:
        InputError: an unknown name, or its weights are missing or broken.
    """
    if name not in EXTRACTORS:
        raise InputError(f"no extractor {name!r}; extractors: {', '.join(EXTRACTORS)}")
    return EXTRACTORS[name](shape, options or FeatureOptions()).eval()
