"""Relative least-squares importance fitting."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lfiw.errors import InputError
from lfiw.losses.ratio_loss import side_mean


class Relative:
    """½ E_m[r²] − E_p[r] with m = αp + (1 − α)q: least squares of the relative ratio r = p/m, bounded by 1/α.

    RuLSIF (Yamada et al., Neural Computation 25, 2013) on a network whose output is the plain log-ratio, so that
    r = e^output/(αe^output + 1 − α) and e^output = (1 − α)r/(1 − αr). No row's loss exceeds ½/α², so that rows which
    only one side has cannot carry the fit: the bound is on what is fitted, not on the weights.

    Args:
        alpha: α in (0, 1).

    Raises:
        InputError: α lies outside (0, 1).
    """

    uses_prior_odds = False

    def __init__(self, alpha: float = 0.1) -> None:
        if not 0 < alpha < 1:
            raise InputError(f"loss.alpha={alpha} must lie in (0, 1)")
        self.alpha = alpha

    def __call__(self, outputs: Float[Tensor, " n"], is_real: Bool[Tensor, " n"]) -> Float[Tensor, ""]:
        ratio = torch.sigmoid(outputs + math.log(self.alpha / (1 - self.alpha))) / self.alpha
        square = ratio.square()
        mixed = self.alpha * side_mean(square, is_real) + (1 - self.alpha) * side_mean(square, ~is_real)
        return mixed / 2 - side_mean(ratio, is_real)

    def log_ratio(self, outputs: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        return outputs
