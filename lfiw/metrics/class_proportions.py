"""Share of each class among weighted samples."""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchmetrics import Metric

from lfiw.errors import InputError


class ClassProportions(Metric):
    """Σ_i w̄_i [class_i = c] for each class c, for `num_weightings` weightings in one pass.

    `compute` returns (num_weightings, num_classes), each row summing to 1, float64.
    """

    full_state_update = False
    mass: Tensor

    def __init__(self, num_classes: int, num_weightings: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        mass = torch.zeros(num_weightings, num_classes, dtype=torch.float64)
        self.add_state("mass", default=mass, dist_reduce_fx="sum")

    def update(self, classes: Int64[Tensor, " n"], weights: Float[Tensor, "n k"] | None = None) -> None:
        """Args:
        classes: in 0 … num_classes − 1.
        weights: any scale; none: uniform.

        Raises:
            InputError: a class that does not exist.
        """
        num_classes = self.mass.shape[1]
        if len(classes) and (int(classes.min()) < 0 or int(classes.max()) >= num_classes):
            raise InputError(f"classes {int(classes.min())} … {int(classes.max())} must lie in 0 … {num_classes - 1}")
        if weights is None:
            weights = torch.ones(len(classes), len(self.mass), dtype=torch.float64, device=classes.device)
        self.mass.index_add_(1, classes, weights.double().T)

    def compute(self) -> Float[Tensor, "k c"]:
        return self.mass / self.mass.sum(dim=1, keepdim=True)
