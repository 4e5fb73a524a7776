"""From classifier logits to importance weights. Pure functions of tensors, float64, in log space."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from lfiw.errors import InputError
from lfiw.weighting.pareto import smooth_log_weights

FLOAT64 = torch.finfo(torch.float64)


def log_ratio_from_logits(logits: Float[Tensor, " n"], *, num_real: float, num_generated: float) -> Float[Tensor, " n"]:
    """Log density ratio log p_data(x)/p_model(x) from the logit of P(real | x).

    By Bayes' rule c/(1−c) = (num_real/num_generated)·p_data/p_model, so log ŵ = logit + log γ with
    γ = num_generated/num_real (Grover et al. 2019, section 2). The official code leaves γ out.

    Args:
        logits: of y = 1 (real), any float dtype.
        num_real, num_generated: rows of each side that the loss effectively saw, equal under balanced mixing; after a
            recalibration, the rows of the calibration set.

    Returns:
        float64.

    Raises:
        InputError: a logit is NaN or infinite, or a count is not positive.
    """
    if not (num_real > 0 and num_generated > 0 and math.isfinite(num_real) and math.isfinite(num_generated)):
        raise InputError(f"num_real={num_real} and num_generated={num_generated} must both be positive")
    check_finite(logits, "logits")
    return logits.double() + math.log(num_generated / num_real)


@dataclass(frozen=True)
class Weighting:
    """How log-ratios become weights: flatten, then clip, then Pareto-smooth, then normalise.

    Args:
        flatten: α ≥ 0 in ŵ^α (Grover et al. 2019, section 3.2); 0 gives uniform weights, 1 leaves ŵ as it is.
        clip: β ≥ 0 in max(ŵ^α, β), a lower bound on the scale of ŵ itself (not of the normalised weight): a sample that
            an over-confident classifier calls generated keeps some weight.
        smooth: replace the upper tail by the quantiles of a generalized Pareto distribution fitted to it
            (Vehtari et al. 2024). Tails that cannot be fitted are left as they are.
        normalize: divide by the sum (self-normalised importance weights).

    Raises:
        InputError: flatten or clip is negative or not finite.
    """

    flatten: float = 1.0
    clip: float = 0.0
    smooth: bool = False
    normalize: bool = True

    def __post_init__(self) -> None:
        for name in ("flatten", "clip"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"Weighting: {name}={value} must be finite and ≥ 0")

    def log_weights(self, log_ratio: Shaped[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The weights' logarithms before normalising, float64; −∞ never arises from a finite log-ratio."""
        check_log_ratio(log_ratio)
        # clamp: flatten > 1 could carry a finite log-ratio over the edge of float64
        log_w = (self.flatten * log_ratio.double()).clamp(FLOAT64.min, FLOAT64.max)
        if self.clip > 0:
            log_w = log_w.clamp(min=math.log(self.clip))
        return smooth_log_weights(log_w) if self.smooth else log_w

    def __call__(self, log_ratio: Shaped[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Weights of `log_ratio`, float64, in the same order.

        With normalize=True they sum to 1 for any finite log-ratio; without it they are on ŵ's own scale.

        Raises:
            InputError: no log-ratio, one that is NaN or infinite, or (normalize=False) a weight beyond float64.
        """
        log_w = self.log_weights(log_ratio)
        if self.normalize:
            return torch.softmax(log_w, dim=0)
        weights = log_w.exp()
        if torch.isinf(weights).any():
            raise InputError(
                f"a weight overflows: largest log-weight {log_w.max().item():.6g}, float64 ends at 709; "
                "use normalize=True or flatten < 1"
            )
        return weights


def check_finite(values: Tensor, name: str) -> None:
    """Raises InputError if a value is NaN or infinite, naming how many and the first row."""
    finite = torch.isfinite(values)
    if not finite.all():
        row = int((~finite).nonzero()[0, 0])
        raise InputError(
            f"{name}: {int((~finite).sum())} of {values.numel()} values are NaN or infinite, first in row {row}"
        )


def check_log_ratio(log_ratio: Tensor) -> None:
    """Raises InputError unless `log_ratio` is a non-empty vector of finite numbers."""
    if log_ratio.ndim != 1 or log_ratio.numel() == 0:
        raise InputError(f"log_ratio: expected a non-empty vector (n,), got shape {tuple(log_ratio.shape)}")
    check_finite(log_ratio, "log_ratio")


def check_weights(weights: Tensor) -> None:
    """Raises InputError unless `weights` is a vector of finite, non-negative numbers, not all of them zero."""
    if weights.ndim != 1 or weights.numel() == 0:
        raise InputError(f"weights: expected a non-empty vector (n,), got shape {tuple(weights.shape)}")
    check_finite(weights, "weights")
    if (weights < 0).any():
        raise InputError(f"weights: the smallest is {weights.min().item():.6g}; weights must be ≥ 0")
    if not (weights > 0).any():
        raise InputError("weights: all are zero; at least one must be positive")
