"""Weights that also match moments of real rows, to correct the means and spreads that a learned ratio misses."""

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

from lfiw.weighting.standard_units import mean_and_spread
from lfiw.weighting.weights import check_weights

RIDGE = 0.1  # of the tilt, in standard deviations: closes about nine tenths of a gap
FAR = 5.0  # standard deviations at which a coordinate is cut: a few rows must not make a moment
ROUNDING = 1e-9  # of squares of standard units


def match_moments(
    weights: Float[Tensor, " m"],
    real: Float[Tensor, "n d"],
    generated: Float[Tensor, "m d"],
    real_weights: Float[Tensor, " n"] | None = None,
) -> Float[Tensor, " m"]:
    """Adjusts weights minimally to bring each coordinate's mean and mean square close to the real rows'.

    Returns float64 weights that sum to 1.

    Entropy balancing (Hainmueller, Political Analysis 20, 2012) from weights that a ratio gave, with a ridge penalty:
    the exponential tilt w·exp(θᵀφ) that minimises log Σ w exp(θᵀφ) − θᵀ mean φ(real) + λ|θ|²/2. φ has zero mean and
    unit variance over both sides. λ = 0.1 + (numbers in φ)/n: moments of few rows are noise, and are matched less.

    Args:
        weights: of generated rows, any scale.
        real, generated: samples that the weights may be fitted to.
        real_weights: any scale. If None, uniform.

    Raises:
        InputError: weights that are negative or not finite.
    """
    check_weights(weights)
    scale = real_weights.double() if real_weights is not None else torch.ones(len(real), dtype=torch.float64)
    features = moments(torch.cat([real, generated]).double())
    target = (scale / scale.sum()) @ features[: len(real)]
    of_generated = features[len(real) :]
    start = weights.double().log()
    ridge = RIDGE + features.shape[1] / len(real)

    def gap(theta: np.ndarray) -> tuple[float, np.ndarray]:
        tilt = torch.from_numpy(theta)
        log_weights = start + of_generated @ tilt
        value = torch.logsumexp(log_weights, 0) - target @ tilt + ridge / 2 * tilt.square().sum()
        slope = torch.softmax(log_weights, 0) @ of_generated - target + ridge * tilt
        return value.item(), slope.numpy()

    found = minimize(gap, np.zeros(features.shape[1]), jac=True, method="L-BFGS-B")
    return torch.softmax(start + of_generated @ torch.from_numpy(found.x), 0)


def moments(x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
    """Returns the coordinates and their squares in standard units, without constant ones."""
    z = standardised(x).clamp(-FAR, FAR)
    return standardised(torch.cat([z, z.square()], dim=1), ROUNDING)


def standardised(x: Float[Tensor, "n d"], rounding: float = 0.0) -> Float[Tensor, "n k"]:
    """Returns columns of zero mean and unit variance, without constant ones (`mean_and_spread`)."""
    mean, spread = mean_and_spread(x, rounding)
    varies = spread > 0
    return (x[:, varies] - mean[varies]) / spread[varies]
