"""Vectors in units of their own spread, so that no column counts for more because of its unit."""

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from lfiw.errors import InputError
from lfiw.features.extractor import Extractor
from lfiw.weighting.standard_units import mean_and_scale


class Standardised(Extractor):
    """Each column of a vector, less its mean and divided by its standard deviation among real rows.

    An FID or KID of columns as they are is that of the columns with the largest numbers: an income in euros beside an
    age in years. Constant columns are left at their distance from the constant.

    Args:
        shape: of a sample, (d,).
        real: returns real rows, (n, d), none of which is scored; called when the features are first needed.

    Raises:
        InputError: samples that are no vectors.
    """

    name = "standardised"
    preprocessing = "less the mean, divided by the standard deviation, of each column among real rows"

    def __init__(self, shape: Sequence[int], real: Callable[[], Tensor]) -> None:
        super().__init__()
        if len(shape) != 1:
            raise InputError(f"extractor standardised: expected vectors (d,), found samples of shape {tuple(shape)}")
        self.num_features = shape[0]
        self._real = real

    @cached_property
    def scale(self) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
        """Mean and standard deviation of each column, float64."""
        return mean_and_scale(self._real().double())

    @cached_property
    def sha256(self) -> str:  # type: ignore[override]  # of the numbers that stand in for weights
        return hashlib.sha256(torch.stack(self.scale).numpy().tobytes()).hexdigest()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        mean, scale = self.scale
        features = (images.cpu().double() - mean) / scale  # some GPUs have no float64
        return {"features": features.to(torch.promote_types(images.dtype, torch.float32)).to(images.device)}
