"""The upper tail of importance weights: its Pareto shape k̂ and its smoothing (Vehtari et al., JMLR 25(72), 2024)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from lfiw.errors import InputError

MIN_VALUES = 25  # fewer give a tail of fewer than five values: not enough for two parameters


def pareto_k(log_ratio: Float[Tensor, " n"]) -> float:
    """Shape k̂ of the generalized Pareto distribution fitted to the largest weights exp(log_ratio).

    Below 1/2 the weights have finite variance; above min(1 − 1/log10 n, 0.7) a weighted mean cannot be trusted
    (Vehtari et al. 2024, section 3). Equals arviz-stats' `psislw(-log_ratio)`, which negates its input.

    Args:
        log_ratio: any float dtype and scale; give the log-weights after flattening and clipping to judge those.

    Returns:
        k̂; nan for fewer than 25 values or a tail that cannot be fitted (constant, or mostly ties).

    Raises:
        InputError: a value is NaN or infinite, or the shape is not (n,).
    """
    if log_ratio.ndim != 1 or not torch.isfinite(log_ratio).all():
        raise InputError(f"pareto_k: expected a finite vector (n,), got shape {tuple(log_ratio.shape)}")
    tail = _fit_tail(log_ratio.double())
    return math.nan if tail is None else tail[0]


def smooth_log_weights(log_weights: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Replace the largest weights by the expected order statistics of the fitted Pareto tail.

    None grows beyond the largest raw one. Returns the log-weights on the scale they came with; unchanged where
    `pareto_k` is nan.
    """
    tail = _fit_tail(log_weights)
    if tail is None:
        return log_weights
    k, sigma, cutoff, rows = tail
    largest = log_weights.max()
    m = rows.numel()
    p = (torch.arange(m, dtype=torch.float64, device=log_weights.device) + 0.5) / m
    excess = sigma * (torch.expm1(-k * torch.log1p(-p)) / k if k != 0 else -torch.log1p(-p))
    # the fit is on the scale where the largest weight is 1
    smoothed = (math.exp(cutoff) + excess).log().clamp(max=0.0) + largest
    return log_weights.index_put((rows,), smoothed)


def _fit_tail(log_weights: Float[Tensor, " n"]) -> tuple[float, float, float, Tensor] | None:
    """(k̂, σ, log of the cutoff relative to the largest weight, rows of the tail in ascending order), or None."""
    n = log_weights.numel()
    if n < MIN_VALUES:
        return None
    size = math.floor(3 * math.sqrt(n)) if n > 225 else n // 5  # Vehtari et al. 2024, section 3: min(n/5, 3√n)
    values, rows = torch.topk(log_weights, size + 1)
    values, rows = values.flip(0) - values[0], rows.flip(0)
    cutoff, tail = values[0], values[1:]
    if tail[-1] - tail[0] < torch.finfo(torch.float64).tiny:
        return None
    k, sigma = fit_generalized_pareto(tail.exp() - cutoff.exp())
    if not (math.isfinite(k) and math.isfinite(sigma) and sigma > 0):
        return None
    return k, sigma, cutoff.item(), rows[1:]


def fit_generalized_pareto(excess: Float[Tensor, " m"]) -> tuple[float, float]:
    """Shape k and scale σ of a generalized Pareto distribution, from ascending excesses over its threshold.

    The quasi-Bayesian estimate of Zhang & Stephens (Technometrics 51, 2009), with the weakly informative prior on k of
    Vehtari et al. 2024, appendix C: ten pseudo-observations at k = 1/2. Returns nan where the lower quartile is 0.
    """
    m = excess.numel()
    quartile = excess[int(m / 4 + 0.5) - 1]
    if quartile <= 0:
        return math.nan, math.nan
    grid = 30 + int(math.sqrt(m))
    index = torch.arange(1, grid + 1, dtype=torch.float64, device=excess.device)
    theta = 1 / excess[-1] + (1 - (grid / (index - 0.5)).sqrt()) / (3 * quartile)
    profile_k = torch.log1p(-theta[:, None] * excess).mean(dim=1)
    log_likelihood = m * ((-theta / profile_k).log() - profile_k - 1)
    posterior = torch.softmax(log_likelihood, dim=0)
    posterior = torch.where(posterior >= 10 * torch.finfo(torch.float64).eps, posterior, 0.0)
    theta_mean = (theta * posterior).sum() / posterior.sum()
    k = torch.log1p(-theta_mean * excess).mean()
    sigma = -k / theta_mean
    k = (m * k + 10 * 0.5) / (m + 10)
    return k.item(), sigma.item()
