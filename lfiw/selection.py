"""Which weighting to use: decided on validation rows, never on those that scores are reported on."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lfiw.diagnostics import effective_sample_size, kl_gain
from lfiw.pareto import pareto_k
from lfiw.weights import Weighting

UNIFORM = "uniform"
MIN_ESS = 100.0
CONFIDENCE = 1.96  # standard errors: 95 % two-sided


@dataclass(frozen=True)
class Candidate:
    """What the validation rows say of one weighting.

    Args:
        kl_gain, standard_error: nats by which the weighted model is nearer to the data (`lfiw.kl_gain`).
        pareto_k, ess: of the weights of the generated validation rows.
        eligible: k̂ and ESS allow the gain to be believed.
    """

    kl_gain: float
    standard_error: float
    pareto_k: float
    ess: float
    eligible: bool

    @property
    def lower_bound(self) -> float:
        """Of the gain, at 95 %."""
        return self.kl_gain - CONFIDENCE * self.standard_error


def pareto_k_threshold(num_samples: int) -> float:
    """min(1 − 1/log10 n, 0.7): above it a weighted mean of n samples is not to be trusted (Vehtari et al. 2024)."""
    return min(1 - 1 / math.log10(max(num_samples, 2)), 0.7)


def judge(
    weighting: Weighting, log_ratio_real: Float[Tensor, " n"], log_ratio_generated: Float[Tensor, " m"]
) -> Candidate:
    """One weighting, on held-out rows of both sides.

    Without a k̂ below the threshold and an ESS of at least max(100, 0.01 m) it is not eligible: the estimated log-mean
    of the weights then misses their tail, and the gain looks largest where it is negative.
    """
    # smoothing is a property of one sample of weights, not of the ratio: the gain is that of the unsmoothed ones
    unsmoothed = Weighting(weighting.flatten, weighting.clip)
    real, generated = unsmoothed.log_weights(log_ratio_real), unsmoothed.log_weights(log_ratio_generated)
    gain, error = kl_gain(real, generated)
    m = log_ratio_generated.numel()
    k, ess = pareto_k(generated), effective_sample_size(torch.softmax(generated, dim=0)).item()
    # nan: too few rows for a tail fit, or a constant tail, as clipped or bounded weights have
    heavy = k >= pareto_k_threshold(m)
    return Candidate(gain.item(), error.item(), k, ess, eligible=not heavy and ess >= max(MIN_ESS, 0.01 * m))


def recommend(candidates: Mapping[str, Candidate]) -> str:
    """Name of the eligible weighting with the largest lower bound of the KL gain; `uniform` if none is above zero."""
    bounds = {name: c.lower_bound for name, c in candidates.items() if c.eligible and c.lower_bound > 0}
    return max(bounds, key=bounds.__getitem__) if bounds else UNIFORM
