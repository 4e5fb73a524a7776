"""What importance weights are worth: effective sample size, and whether they bring the model nearer to the data."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from lfiw.errors import InputError
from lfiw.weights import check_log_ratio, check_weights


def effective_sample_size(weights: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Number of equally weighted samples that carry as much information (Kish 1965).

    ESS = (Σ w)² / Σ w², between 1 (one sample has all the mass) and n (uniform).

    Args:
        weights: non-negative, any scale.

    Returns:
        0-d float64.

    Raises:
        InputError: a weight is negative or not finite, or all are zero.
    """
    check_weights(weights)
    w = weights.double() / weights.max().double()  # scale first: squares of small weights must not underflow
    return w.sum().square() / w.square().sum()


def kl_gain(
    log_ratio_real: Float[Tensor, " n"], log_ratio_generated: Float[Tensor, " m"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """How much nearer the weighted model is to the data: KL(p‖p_θ) − KL(p‖p_θ·ŵ/Z) = E_p[log ŵ] − log E_pθ[ŵ].

    Positive exactly when weighting helps in this sense (Grover et al. 2019, section 3.1). The scale of ŵ, and so γ,
    cancels. Use rows that the classifier did not train on.

    Args:
        log_ratio_real: log ŵ of held-out real samples.
        log_ratio_generated: log ŵ of held-out generated samples.

    Returns:
        The estimate in nats and its standard error by the delta method, √(Var_p[log ŵ]/n + Var_q[ŵ]/(m·E_q[ŵ]²)), both
        0-d float64. The error is only as good as the second moment of ŵ: read `pareto_k` beside it.

    Raises:
        InputError: a value is NaN or infinite, or a side has fewer than 2 rows.
    """
    for log_ratio, side in ((log_ratio_real, "real"), (log_ratio_generated, "generated")):
        check_log_ratio(log_ratio)
        if log_ratio.numel() < 2:
            raise InputError(f"kl_gain: the {side} side has {log_ratio.numel()} row; at least 2 are needed")
    real, generated = log_ratio_real.double(), log_ratio_generated.double()
    n, m = real.numel(), generated.numel()
    log_mean = torch.logsumexp(generated, dim=0) - math.log(m)
    relative = (generated - log_mean).exp()  # ŵ / E_q[ŵ]
    variance = real.var() / n + relative.var() / m
    return real.mean() - log_mean, variance.sqrt()
