"""Diagnostics of importance weights: how many samples they leave, and whether the model gets closer to the data."""

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev

import torch
from jaxtyping import Float
from scipy.stats import fisher_exact, mannwhitneyu, t
from torch import Tensor
from torch.nn import functional as F

from lfiw.errors import InputError
from lfiw.tensors import Vector, as_tensor
from lfiw.weighting.weights import check_log_ratio, check_weights


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Computes the mean and its standard error s/√n; nan for a single value."""
    return fmean(values), stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def half_width(standard_error: float, degrees_of_freedom: float = math.inf) -> float:
    """Returns the half-width of a 95 % interval: the standard error times Student's t quantile at 0.975.

    It is nan without an error, or without a variance to estimate it from.

    Args:
        degrees_of_freedom: those of the variance. If infinite, it is known, and the quantile is the normal one.
    """
    if degrees_of_freedom == math.inf:
        return standard_error * NormalDist().inv_cdf(0.975)
    return standard_error * float(t.ppf(0.975, degrees_of_freedom))


def paired_interval(differences: Sequence[float]) -> tuple[float, float]:
    """Computes Student's t-interval of paired differences, mean ± t(n − 1) · s/√n, exact if they are normal.

    Args:
        differences: at least 2.
    """
    mean, error = mean_and_error(differences)
    half = half_width(error, len(differences) - 1)
    return mean - half, mean + half


MIN_ESS_PER_DIMENSION = 2.0  # fewer do not determine a covariance


def effective_sample_size(weights: Vector) -> Float[Tensor, ""]:
    """Computes the number of equally weighted samples that carry as much information (Kish 1965).

    ESS = (Σ w)² / Σ w², between 1 (one sample has all the mass) and n (uniform).

    Args:
        weights: non-negative, any scale.

    Returns:
        0-d float64.

    Raises:
        InputError: a weight is negative or not finite, or all are zero.
    """
    weights = as_tensor(weights, "weights")
    check_weights(weights)
    w = weights.double() / weights.max().double()  # scale first: squares of small weights must not underflow
    return w.sum().square() / w.square().sum()


def kl_gain(log_ratio_real: Vector, log_ratio_generated: Vector) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Estimates KL(p‖p_θ) − KL(p‖p_θ·ŵ/Z) = E_p[log ŵ] − log E_pθ[ŵ]: how much closer weights bring the model.

    It is positive exactly when weighting helps in this sense (Grover et al. 2019, section 3.1). The scale of ŵ, and
    with it γ, cancels. Use rows that the classifier did not train on.

    Args:
        log_ratio_real: log ŵ of held-out real samples.
        log_ratio_generated: log ŵ of held-out generated samples.

    Returns:
        The estimate in nats and its standard error by the delta method, √(Var_p[log ŵ]/n + Var_q[ŵ]/(m·E_q[ŵ]²)), both
        0-d float64. The error relies on the second moment of ŵ: check `pareto_k` as well.

    Raises:
        InputError: a value is NaN or infinite, or a side has fewer than 2 rows.
    """
    real, generated = (as_tensor(values, "log_ratio").double() for values in (log_ratio_real, log_ratio_generated))
    for log_ratio, side in ((real, "real"), (generated, "generated")):
        check_log_ratio(log_ratio)
        if log_ratio.numel() < 2:
            raise InputError(f"kl_gain: the {side} side has {log_ratio.numel()} row; at least 2 are needed")
    n, m = real.numel(), generated.numel()
    log_mean = torch.logsumexp(generated, dim=0) - math.log(m)
    relative = (generated - log_mean).exp()  # ŵ / E_q[ŵ]
    variance = real.var() / n + relative.var() / m
    return real.mean() - log_mean, variance.sqrt()


def top_share(weights: Float[Tensor, " n"], fraction: float = 0.01) -> Float[Tensor, ""]:
    """Computes the share of the weight that the heaviest `fraction` of samples (at least one) has, in (0, 1].

    Raises:
        InputError: a weight is negative or not finite, all are zero, or the fraction lies outside (0, 1].
    """
    check_weights(weights)
    if not 0 < fraction <= 1:
        raise InputError(f"top_share: fraction={fraction} must lie in (0, 1]")
    w = weights.double() / weights.max().double()
    count = max(1, round(fraction * w.numel()))
    return w.topk(count).values.sum() / w.sum()


def mean_one(
    log_ratio_real: Float[Tensor, " n"], log_ratio_generated: Float[Tensor, " m"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Computes means that are 1 for the exact ratio: of ŵ over held-out generated rows, of 1/ŵ over real ones; float64.

    The first is 1 since ∫ p_θ·(p/p_θ) = 1; the second likewise, if the model covers the data. A mean that overflows,
    from log-ratios above 709, is float64's largest number.
    """
    check_log_ratio(log_ratio_real)
    check_log_ratio(log_ratio_generated)
    return _mean_of_exp(log_ratio_generated.double()), _mean_of_exp(-log_ratio_real.double())


def _mean_of_exp(values: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    return (torch.logsumexp(values, 0) - math.log(len(values))).exp().clamp(max=torch.finfo(torch.float64).max)


def balanced_log_loss(
    log_ratio_real: Float[Tensor, " n"], log_ratio_generated: Float[Tensor, " m"]
) -> Float[Tensor, ""]:
    """Computes the cross-entropy of c = σ(log ŵ) in nats, each side counting half; log 2 is chance. float64."""
    check_log_ratio(log_ratio_real)
    check_log_ratio(log_ratio_generated)
    real, generated = log_ratio_real.double(), log_ratio_generated.double()
    return -(F.logsigmoid(real).mean() + F.logsigmoid(-generated).mean()) / 2


def balanced_accuracy(
    log_ratio_real: Float[Tensor, " n"], log_ratio_generated: Float[Tensor, " m"]
) -> Float[Tensor, ""]:
    """Computes the share of rows on the right side of log ŵ = 0, each side counting half; float64."""
    check_log_ratio(log_ratio_real)
    check_log_ratio(log_ratio_generated)
    return ((log_ratio_real > 0).double().mean() + (log_ratio_generated <= 0).double().mean()) / 2


def two_sample_test(log_ratio_real: Float[Tensor, " n"], log_ratio_generated: Float[Tensor, " m"]) -> Float[Tensor, ""]:
    """Tests whether held-out rows are told apart better than by chance; returns the p-value of equal distributions.

    A classifier two-sample test (Lopez-Paz & Oquab, ICLR 2017) on the decisions log ŵ > 0. Given the number of
    rows called real, the number of real ones among them is hypergeometric: this is Fisher's exact test, one-sided, for
    any numbers of rows per side.

    Args:
        log_ratio_real, log_ratio_generated: of rows that the classifier did not train on.

    Raises:
        InputError: a value is NaN or infinite, or a side is empty.
    """
    check_log_ratio(log_ratio_real)
    check_log_ratio(log_ratio_generated)
    table = []
    for log_ratio in (log_ratio_real, log_ratio_generated):
        called_real = int((log_ratio > 0).sum())
        table.append([called_real, log_ratio.numel() - called_real])
    return torch.tensor(fisher_exact(table, alternative="greater").pvalue, dtype=torch.float64)


def rank_test(log_ratio_real: Float[Tensor, " n"], log_ratio_generated: Float[Tensor, " m"]) -> Float[Tensor, ""]:
    """Tests whether held-out real rows have the larger log-ratios; returns the p-value of equal distributions.

    It is the one-sided Mann–Whitney U test in normal approximation: a classifier two-sample test on the order of the
    log-ratios instead of decisions at 0, which is more sensitive to small differences and needs no calibration.

    Args:
        log_ratio_real, log_ratio_generated: of rows that the classifier did not train on.

    Raises:
        InputError: a value is NaN or infinite, or a side is empty.
    """
    for log_ratio in (log_ratio_real, log_ratio_generated):
        check_log_ratio(log_ratio)
    sides = (side.double().cpu().numpy() for side in (log_ratio_real, log_ratio_generated))
    # asymptotic at any size, so that p-values do not jump between small and larger samples
    return torch.tensor(mannwhitneyu(*sides, alternative="greater", method="asymptotic").pvalue, dtype=torch.float64)
