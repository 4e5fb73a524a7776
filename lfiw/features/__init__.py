"""Images to features, by name."""

import os
from collections.abc import Callable, Sequence

from lfiw.errors import InputError
from lfiw.features.classifier import Classifier
from lfiw.features.extractor import Extractor
from lfiw.features.pixels import Pixels

__all__ = ["EXTRACTORS", "Classifier", "Extractor", "Pixels", "build_extractor"]


def _classifier(shape: Sequence[int], classifier_weights: str | os.PathLike[str] | None) -> Extractor:
    if classifier_weights is None:
        raise InputError("extractor classifier: set features.classifier_weights to its weights")
    return Classifier(classifier_weights)


EXTRACTORS: dict[str, Callable[[Sequence[int], str | os.PathLike[str] | None], Extractor]] = {
    "pixels": lambda shape, _: Pixels(shape),
    "classifier": _classifier,
}


def build_extractor(
    name: str, shape: Sequence[int], *, classifier_weights: str | os.PathLike[str] | None = None
) -> Extractor:
    """The extractor of that name for samples of that shape, in evaluation mode.

    Raises:
        InputError: an unknown name, or its weights are missing or broken.
    """
    if name not in EXTRACTORS:
        raise InputError(f"no extractor {name!r}; extractors: {', '.join(EXTRACTORS)}")
    return EXTRACTORS[name](shape, classifier_weights).eval()
