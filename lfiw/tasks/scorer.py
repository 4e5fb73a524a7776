"""A trained run as a function from samples to log-ratios."""

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from lfiw.config import load
from lfiw.errors import InputError
from lfiw.features import Extractor, build_extractor
from lfiw.ratio.classifier import RatioClassifier
from lfiw.tasks.extractors import feature_options
from lfiw.tasks.ratio import build_datamodule


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
