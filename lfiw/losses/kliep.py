"""Kullback–Leibler importance estimation."""

from jaxtyping import Bool, Float
from torch import Tensor

from lfiw.losses.ratio_loss import side_mean

LARGEST = 50.0  # e^50 and its gradient are finite in float32


class Kliep:
    """E_q[r] − E_p[log r] with r = exp(output): the ratio that brings the weighted model nearest in KL(p‖p_θ·r).

    KLIEP (Sugiyama et al., NIPS 2007) with its constraint E_q[r] = 1 as a Lagrangian, whose multiplier is 1 at the
    optimum (Nguyen et al., IEEE Trans. Inf. Theory 56, 2010, eq. 12): batches need no normaliser of their own, and the
    scale of r is found too. Beyond an output of 50, r grows linearly and log r not at all: no batch overflows, and
    where the sides are separated the loss ends at −50 instead of −∞.
    """

    uses_prior_odds = False

    def __call__(self, outputs: Float[Tensor, " n"], is_real: Bool[Tensor, " n"]) -> Float[Tensor, ""]:
        low = outputs.clamp(max=LARGEST)
        ratio = low.exp() * (1 + outputs - low)
        return side_mean(ratio, ~is_real) - side_mean(low, is_real)

    def log_ratio(self, outputs: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        return outputs
