"""Metrics of classes: their proportions under weights, and scores of a classifier of real and generated rows."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc

from lfiw.errors import InputError
from lfiw.weighting.calibration import reliability
from lfiw.weighting.diagnostics import balanced_accuracy, balanced_log_loss, mean_one


class ClassProportions(Metric):
    """Computes Σ_i w̄_i [class_i = c] for every class c and `num_weightings` weightings in one pass.

    `compute` returns (num_weightings, num_classes), each row summing to 1, float64.
    """

    full_state_update = False
    mass: Tensor

    def __init__(self, num_classes: int, num_weightings: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        mass = torch.zeros(num_weightings, num_classes, dtype=torch.float64)
        self.add_state("mass", default=mass, dist_reduce_fx="sum")

    def update(self, classes: Int64[Tensor, " n"], weights: Float[Tensor, "n k"] | None = None) -> None:
        """Adds rows of known class.

        Args:
            classes: in 0 … num_classes − 1.
            weights: any scale; None is uniform.

        Raises:
            InputError: a class does not exist.
        """
        num_classes = self.mass.shape[1]
        if len(classes) and (int(classes.min()) < 0 or int(classes.max()) >= num_classes):
            raise InputError(f"classes {int(classes.min())} … {int(classes.max())} must lie in 0 … {num_classes - 1}")
        if weights is None:
            weights = torch.ones(len(classes), len(self.mass), dtype=torch.float64, device=classes.device)
        self.mass.index_add_(1, classes, weights.double().T)

    def compute(self) -> Float[Tensor, "k c"]:
        return self.mass / self.mass.sum(dim=1, keepdim=True)


class RatioScores(Metric):
    """Scores of log-ratios on held-out rows, both sides counting the same however many rows each has.

    With c = σ(log ŵ), the probability of `real` at even prior odds:

    - log_loss, brier, accuracy: means over each side, averaged over the two (nats; log 2 is chance);
    - auroc: P(log ŵ of a real row > that of a generated one);
    - calibration_error: expected calibration error, 15 bins of equal width (Naeini et al. 2015), at the rows' own odds;
    - mean_weight_generated = E_q[ŵ] and mean_inverse_weight_real = E_p[1/ŵ]: both 1 for the exact ratio.
    """

    full_state_update = False
    log_ratio: list[Tensor]
    is_real: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("log_ratio", default=[], dist_reduce_fx="cat")
        self.add_state("is_real", default=[], dist_reduce_fx="cat")

    def update(self, log_ratio: Float[Tensor, " n"], is_real: Bool[Tensor, " n"]) -> None:
        self.log_ratio.append(log_ratio.detach().double())
        self.is_real.append(is_real)

    def compute(self) -> dict[str, Tensor]:
        """Returns the scores by name, 0-d float64.

        Raises:
            InputError: a side has no row.
        """
        if not len(self.is_real):
            raise InputError("scores need rows of both sides, there are none")
        log_ratio, is_real = (torch.cat(s) if isinstance(s, list) else s for s in (self.log_ratio, self.is_real))
        real, generated = log_ratio[is_real], log_ratio[~is_real]
        if not len(real) or not len(generated):
            raise InputError(f"scores need rows of both sides, there are {len(real)} real, {len(generated)} generated")
        of_generated, of_real = mean_one(real, generated)
        brier = (torch.sigmoid(-real).square().mean() + torch.sigmoid(generated).square().mean()) / 2
        # on the CPU: CUDA has no deterministic weighted bincount
        curve = reliability(log_ratio.cpu(), is_real.cpu())
        # by log-ratios: probabilities near 1 would round to ties
        rank = torch.unique(log_ratio, return_inverse=True)[1].double()
        return {
            "log_loss": balanced_log_loss(real, generated),
            "accuracy": balanced_accuracy(real, generated),
            "auroc": binary_auroc(rank / rank.max().clamp(min=1), is_real.long()).double(),
            "brier": brier,
            "calibration_error": log_ratio.new_tensor(curve.expected_error),
            "mean_weight_generated": of_generated,
            "mean_inverse_weight_real": of_real,
        }
