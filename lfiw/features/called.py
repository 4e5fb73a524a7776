"""Features by a function of the user's."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lfiw.errors import InputError, first_line
from lfiw.features.extractor import Extractor
from lfiw.tensors import to_tensor


class CalledFeatures(Extractor):
    """What a function makes of each batch.

    Args:
        name: of the features: the column is `features/NAME`.
        function: samples as they stand in the tables (uint8 images (n, c, h, w), or vectors (n, d)) → (n, features),
            a tensor or an array. Each row's features must depend on that row alone.
        sha256: of the file that the function is from, by which stored columns are told from those of another version.
        preprocessing: kept with the columns.
    """

    def __init__(self, name: str, function: Callable[[Tensor], Any], sha256: str = "", preprocessing: str = "") -> None:
        super().__init__()
        self.name, self.function, self.sha256, self.preprocessing = name, function, sha256, preprocessing

    @property
    def key(self) -> str:
        return self.name

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        try:
            found = self.function(images)
        except Exception as error:  # of the user's code: --debug shows where
            raise InputError(f"features {self.name}: the function failed: {first_line(error)}") from error
        found = to_tensor(found, "what the function returns") if isinstance(found, np.ndarray) else found
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(images) or not found.shape[1]:
            what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(f"features {self.name}: the function returned {what}, expected ({len(images)}, d) numbers")
        found = found.detach().to(torch.float64 if found.dtype == torch.float64 else torch.float32)
        if not torch.isfinite(found).all():
            raise InputError(f"features {self.name}: the function returned NaN or infinite values")
        self.num_features = found.shape[1]
        return {"features": found}
