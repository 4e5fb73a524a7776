"""Losses whose minimiser is the log density ratio, by name."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from lfiw.errors import InputError


class RatioLoss:
    """A loss whose minimiser is a known function of p_data/p_model.

    With `uses_prior_odds` the minimiser is the odds of the rows that it sees, so that the log-ratio differs from it by
    log γ; the other losses are means per side of a batch and do not see the prior odds. Under balanced mixing both are
    the same. Under natural mixing a side's mean shrinks by the share of batches without any of its rows (1 in 10⁴ if 9
    are expected): give rare sides larger batches.
    """

    uses_prior_odds = False

    def __call__(
        self, outputs: Float[Tensor, " n"], is_real: Bool[Tensor, " n"], weights: Float[Tensor, " n"] | None = None
    ) -> Float[Tensor, ""]:
        """Returns the loss of a batch with rows of both sides.

        Args:
            weights: the rows' weights, each side on its own scale. If None, uniform.
        """
        raise NotImplementedError

    def log_ratio(self, outputs: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Returns log p_data/p_model from the network's outputs, up to the prior odds if the loss uses them."""
        return outputs


def side_mean(
    values: Float[Tensor, " n"], rows: Bool[Tensor, " n"], weights: Float[Tensor, " n"] | None = None
) -> Float[Tensor, ""]:
    """Averages over some rows of a batch; 0 if there are none, as may happen in a side's last batch."""
    if weights is None:
        return (values * rows).sum() / rows.sum().clamp(min=1)
    mass = weights * rows
    return (values * mass).sum() / mass.sum().clamp(min=torch.finfo(mass.dtype).tiny)


def mean_one_per_side(weights: Float[Tensor, " n"], is_real: Bool[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Scales the weights of a batch to mean 1 per side, so that they do not change the prior odds."""
    ones = torch.ones_like(weights)
    means = [side_mean(weights, rows).clamp(min=torch.finfo(weights.dtype).tiny) for rows in (is_real, ~is_real)]
    return weights / torch.where(is_real, means[0] * ones, means[1] * ones)


class Logistic(RatioLoss):
    """Binary cross-entropy of real (1) against generated (0) rows (Grover et al. 2019, section 2)."""

    uses_prior_odds = True

    def __call__(
        self, outputs: Float[Tensor, " n"], is_real: Bool[Tensor, " n"], weights: Float[Tensor, " n"] | None = None
    ) -> Float[Tensor, ""]:
        if weights is not None:
            weights = mean_one_per_side(weights, is_real).to(outputs.dtype)
        return F.binary_cross_entropy_with_logits(outputs, is_real.to(outputs.dtype), weights)


LARGEST = 50.0  # e^50 and its gradient are finite in float32


class Kliep(RatioLoss):
    """Computes E_q[r] − E_p[log r], r = exp(output): the best r brings the weighted model closest in KL(p‖p_θ·r).

    KLIEP (Sugiyama et al., NIPS 2007) with its constraint E_q[r] = 1 as a Lagrangian, whose multiplier is 1 at the
    optimum (Nguyen et al., IEEE Trans. Inf. Theory 56, 2010, eq. 12): batches need no normaliser of their own, and the
    scale of r is learned too. Beyond an output of 50, r grows linearly and log r stays constant: no batch overflows,
    and for separated sides the loss ends at −50 instead of −∞.
    """

    def __call__(
        self, outputs: Float[Tensor, " n"], is_real: Bool[Tensor, " n"], weights: Float[Tensor, " n"] | None = None
    ) -> Float[Tensor, ""]:
        low = outputs.clamp(max=LARGEST)
        ratio = low.exp() * (1 + outputs - low)
        return side_mean(ratio, ~is_real, weights) - side_mean(low, is_real, weights)


class Squared(RatioLoss):
    """Computes ½ E_q[r²] − E_p[r], r = softplus(output): the best r has the least squared error under the model.

    uLSIF (Kanamori et al., JMLR 10, 2009) on a network. It weights errors of large ratios by their square, and so fits
    the few rows with large ratios first. softplus grows linearly: no output overflows.
    """

    def __call__(
        self, outputs: Float[Tensor, " n"], is_real: Bool[Tensor, " n"], weights: Float[Tensor, " n"] | None = None
    ) -> Float[Tensor, ""]:
        ratio = F.softplus(outputs)
        return side_mean(ratio.square(), ~is_real, weights) / 2 - side_mean(ratio, is_real, weights)

    def log_ratio(self, outputs: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        # log softplus(x) = x for very negative x, where softplus underflows
        ratio = F.softplus(outputs).clamp(min=torch.finfo(outputs.dtype).tiny)
        return torch.where(outputs < -15, outputs, ratio.log())


class Relative(RatioLoss):
    """Computes ½ E_m[r²] − E_p[r], m = αp + (1 − α)q: least squares of the relative ratio r = p/m, bounded by 1/α.

    RuLSIF (Yamada et al., Neural Computation 25, 2013) on a network whose output is the plain log-ratio, so that
    r = e^output/(αe^output + 1 − α) and e^output = (1 − α)r/(1 − αr). No row's loss exceeds ½/α², so that rows on
    only one side cannot dominate the fit: the bound is on what is fitted, not on the weights.

    Args:
        alpha: α in (0, 1).
    """

    def __init__(self, alpha: float = 0.1) -> None:
        if not 0 < alpha < 1:
            raise InputError(f"loss.alpha={alpha} must lie in (0, 1)")
        self.alpha = alpha

    def __call__(
        self, outputs: Float[Tensor, " n"], is_real: Bool[Tensor, " n"], weights: Float[Tensor, " n"] | None = None
    ) -> Float[Tensor, ""]:
        ratio = torch.sigmoid(outputs + math.log(self.alpha / (1 - self.alpha))) / self.alpha
        square = ratio.square()
        mixed = self.alpha * side_mean(square, is_real, weights) + (1 - self.alpha) * side_mean(
            square, ~is_real, weights
        )
        return mixed / 2 - side_mean(ratio, is_real, weights)


LOSSES: dict[str, type[RatioLoss]] = {
    "logistic": Logistic,
    "squared": Squared,
    "kliep": Kliep,
    "relative": Relative,
}


def build_loss(options: Mapping[str, Any]) -> RatioLoss:
    """Builds the loss named by `name`, with its other options.

    Raises:
        InputError: there is no such loss or option, or a value is outside its range.
    """
    others = dict(options)
    name = others.pop("name", None)
    if name not in LOSSES:
        raise InputError(f"loss={name}: expected one of {', '.join(LOSSES)}")
    try:
        return LOSSES[name](**others)
    except TypeError:
        raise InputError(f"loss={name} does not take {', '.join(others)}") from None
