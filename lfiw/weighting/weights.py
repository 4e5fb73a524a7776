"""From log-ratios to weights: flatten, clip, Pareto-smooth the upper tail, match class shares, normalise."""

import math
from dataclasses import dataclass, replace
from numbers import Real
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from lfiw.errors import InputError
from lfiw.tensors import Vector, as_tensor, check_tensor
from lfiw.weighting.strata import Strata

MIN_VALUES = 25  # fewer leave a tail of less than five values, not enough for two parameters


def pareto_k(log_ratio: Vector) -> float:
    """Returns the shape k̂ of the generalised Pareto distribution fitted to the largest weights exp(log_ratio).

    Below 1/2 the weights have finite variance; above min(1 − 1/log10 n, 0.7) a weighted mean cannot be trusted
    (Vehtari et al. 2024, section 3). Equals arviz-stats' `psislw(-log_ratio)`, which negates its input.

    Args:
        log_ratio: any float dtype and scale; give the log-weights after flattening and clipping to judge those.

    Returns:
        k̂; nan for fewer than 25 values or a tail that cannot be fitted (constant, or mostly ties).

    Raises:
        InputError: a value is NaN or infinite, or the shape is not (n,).
    """
    log_ratio = as_tensor(log_ratio, "pareto_k: log_ratio")
    if log_ratio.ndim != 1:
        raise InputError(f"pareto_k: expected a vector (n,), got shape {tuple(log_ratio.shape)}")
    return pareto_k_of_columns(log_ratio[:, None]).item()


def pareto_k_of_columns(log_ratio: Float[Tensor, "n k"]) -> Float[Tensor, " k"]:
    """Computes `pareto_k` of several weightings at once, one per column; float64.

    Raises:
        InputError: a value is NaN or infinite, or the shape is not (n, k).
    """
    if log_ratio.ndim != 2 or not torch.isfinite(log_ratio).all():
        raise InputError(f"pareto_k: expected finite values, one row per sample, got shape {tuple(log_ratio.shape)}")
    tails = _fit_tails(log_ratio.double())
    return log_ratio.new_full((log_ratio.shape[1],), math.nan).double() if tails is None else tails.k


def has_tied_tail(log_ratio: Float[Tensor, "n k"]) -> Bool[Tensor, " k"]:
    """Returns whether each column has so many ties among its largest values that a tail cannot be fitted to them.

    This happens with discrete data, with the plateaus of isotonic calibration, and at a clip. True if more than half of
    the tail's values repeat another one; False for fewer than 25 values.
    """
    if len(log_ratio) < MIN_VALUES:
        return torch.zeros(log_ratio.shape[1], dtype=torch.bool, device=log_ratio.device)
    tail = torch.topk(log_ratio, _tail_size(len(log_ratio)), dim=0).values
    return (tail[1:] == tail[:-1]).sum(0) > len(tail) / 2


def smooth_log_weights(log_weights: Float[Tensor, "n *k"]) -> Float[Tensor, "n *k"]:
    """Replaces the largest weights by the expected order statistics of the fitted Pareto tail.

    None exceeds the largest raw weight. Takes (n,) or one column per weighting, float64; returns log-weights on the
    same scale. Columns whose `pareto_k` is nan are unchanged.
    """
    columns = log_weights if log_weights.ndim == 2 else log_weights[:, None]
    tails = _fit_tails(columns)
    if tails is None:
        return log_weights
    k, sigma = tails.k, tails.sigma
    m = len(tails.rows)
    p = ((torch.arange(m, dtype=torch.float64, device=columns.device) + 0.5) / m)[:, None]
    steps = -torch.log1p(-p)  # quantiles of the exponential distribution, the limit k → 0
    excess = sigma * torch.where(k == 0, steps, torch.expm1(k * steps) / torch.where(k == 0, 1.0, k))
    # the fit is on a scale where the largest weight is 1
    smoothed = (tails.cutoff.exp() + excess).log().clamp(max=0.0) + columns.max(dim=0).values
    fitted = ~torch.isnan(k)
    values = torch.where(fitted, smoothed, columns.gather(0, tails.rows))
    return columns.scatter(0, tails.rows, values).view_as(log_weights)


class _Tails(NamedTuple):
    """Per column: k̂ and σ (nan if there is no fit), the cutoff relative to the largest log-weight, and the rows of the
    tail in ascending order."""

    k: Float[Tensor, " k"]
    sigma: Float[Tensor, " k"]
    cutoff: Float[Tensor, " k"]
    rows: Int64[Tensor, "m k"]


def _fit_tails(log_weights: Float[Tensor, "n k"]) -> _Tails | None:
    """Fits every column's tail; None if the columns are too short."""
    n = len(log_weights)
    if n < MIN_VALUES:
        return None
    values, rows = torch.topk(log_weights, _tail_size(n) + 1, dim=0)
    values, rows = values.flip(0) - values[0], rows.flip(0)
    cutoff, tail = values[0], values[1:]
    k, sigma = fit_generalized_pareto(tail.exp() - cutoff.exp())
    flat = tail[-1] - tail[0] < torch.finfo(torch.float64).tiny
    lost = flat | ~torch.isfinite(k) | ~torch.isfinite(sigma) | ~(sigma > 0)
    return _Tails(torch.where(lost, math.nan, k), sigma, cutoff, rows[1:])


def _tail_size(n: int) -> int:
    """Returns min(n/5, 3√n) (Vehtari et al. 2024, section 3)."""
    return math.floor(3 * math.sqrt(n)) if n > 225 else n // 5


def fit_generalized_pareto(excess: Float[Tensor, "m k"]) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
    """Fits shape k and scale σ of a generalised Pareto distribution per column, from ascending excesses.

    It is the quasi-Bayesian estimate of Zhang & Stephens (Technometrics 51, 2009), with the weakly informative prior on
    k of Vehtari et al. 2024, appendix C: ten pseudo-observations at k = 1/2. Returns nan if the lower quartile is 0.
    """
    m = len(excess)
    quartile = excess[int(m / 4 + 0.5) - 1]
    quartile = torch.where(quartile > 0, quartile, math.nan)
    grid = 30 + int(math.sqrt(m))
    index = torch.arange(1, grid + 1, dtype=torch.float64, device=excess.device)[:, None]
    theta = 1 / excess[-1] + (1 - (grid / (index - 0.5)).sqrt()) / (3 * quartile)  # (grid, k)
    # one grid point at a time: all at once would take the tails' memory times the size of the grid
    profile_k = torch.stack([torch.log1p(-row * excess).mean(dim=0) for row in theta])
    log_likelihood = m * ((-theta / profile_k).log() - profile_k - 1)
    posterior = torch.softmax(log_likelihood, dim=0)
    posterior = torch.where(posterior >= 10 * torch.finfo(torch.float64).eps, posterior, 0.0)
    theta_mean = (theta * posterior).sum(0) / posterior.sum(0)
    k = torch.log1p(-theta_mean * excess).mean(dim=0)
    sigma = -k / theta_mean
    return (m * k + 10 * 0.5) / (m + 10), sigma


FLOAT64 = torch.finfo(torch.float64)


def log_ratio_from_logits(logits: Vector, *, num_real: float, num_generated: float) -> Float[Tensor, " n"]:
    """Computes the log density ratio log p_data(x)/p_model(x) from the logit of P(real | x).

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
    logits = as_tensor(logits, "logits")
    check_finite(logits, "logits")
    return logits.double() + math.log(num_generated / num_real)


@dataclass(frozen=True)
class Weighting:
    """Turns log-ratios into weights: flattens, clips, Pareto-smooths, matches class shares, normalises, in this order.

    Args:
        flatten: α ≥ 0 in ŵ^α (Grover et al. 2019, section 3.2); 0 gives uniform weights, 1 leaves ŵ as it is.
        clip: β ≥ 0 in max(ŵ^α, β), a lower bound on the scale of ŵ itself (not of the normalised weight): a sample that
            an over-confident classifier calls generated keeps some weight.
        smooth: replace the upper tail by the quantiles of a generalised Pareto distribution fitted to it
            (Vehtari et al. 2024). Tails that cannot be fitted stay as they are.
        normalize: divide by the sum (self-normalised importance weights).
        stratify: give each class the share that it has among real rows (`Strata`), whatever the log-ratios say; done
            before normalising.

    Raises:
        InputError: flatten or clip is negative or not finite.
    """

    flatten: float = 1.0
    clip: float = 0.0
    smooth: bool = False
    normalize: bool = True
    stratify: bool = False

    def __post_init__(self) -> None:
        for name in ("flatten", "clip"):
            value = getattr(self, name)
            if not (isinstance(value, Real) and math.isfinite(value) and float(value) >= 0):
                raise InputError(f"Weighting: {name}={value!r} must be finite and ≥ 0")

    @property
    def is_uniform(self) -> bool:
        """Whether all weights are equal, whatever the log-ratios."""
        return self.flatten == 0 and not self.stratify

    @property
    def unsmoothed(self) -> "Weighting":
        """The same without smoothing: a function of the row alone, given the classes' shares."""
        return replace(self, smooth=False)

    def log_weights(self, log_ratio: Vector, strata: Strata | None = None) -> Float[Tensor, " n"]:
        """Computes the weights' logarithms before normalising, float64; finite log-ratios never give −∞.

        Args:
            strata: of the rows; only `stratify` needs them.

        Raises:
            InputError: as `__call__`.
        """
        log_ratio = as_tensor(log_ratio, "log_ratio")
        check_log_ratio(log_ratio)
        # clamped, since flatten > 1 could take a finite log-ratio beyond float64
        log_w = (self.flatten * log_ratio.double()).clamp(FLOAT64.min, FLOAT64.max)
        if self.clip > 0:
            log_w = log_w.clamp(min=math.log(self.clip))
        if self.smooth:
            log_w = smooth_log_weights(log_w)
        return self._strata_of(strata, log_w).balance(log_w) if self.stratify else log_w

    def log_weights_of_both(
        self,
        log_ratio_real: Vector,
        log_ratio_generated: Vector,
        strata: tuple[Strata, Strata] | None = None,
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " m"]]:
        """Computes unsmoothed log-weights of real and generated rows on one scale, that of the generated ones.

        Args:
            strata: of the real and of the generated rows.

        Raises:
            InputError: as `__call__`.
        """
        plain = Weighting(self.flatten, self.clip)
        real, generated = plain.log_weights(log_ratio_real), plain.log_weights(log_ratio_generated)
        if not self.stratify:
            return real, generated
        given = strata or (None, None)
        of_real, of_generated = (self._strata_of(s, w) for s, w in zip(given, (real, generated), strict=True))
        shifts = of_generated.shifts(generated)
        return real + shifts[of_real.of_row], generated + shifts[of_generated.of_row]

    @staticmethod
    def _strata_of(strata: Strata | None, log_weights: Tensor) -> Strata:
        """Returns the strata, unless they are missing or of other rows."""
        if strata is None or len(strata.of_row) != len(log_weights):
            given = "none" if strata is None else f"{len(strata.of_row):,}"
            raise InputError(f"stratify: expected the class of each of {len(log_weights):,} rows, {given} given")
        return strata

    def __call__(self, log_ratio: Vector, strata: Strata | None = None) -> Float[Tensor, " n"]:
        """Computes the weights of `log_ratio`, float64, in the same order.

        With normalize=True they sum to 1 for any finite log-ratio; without it they are on ŵ's own scale.

        Args:
            strata: of the rows; only `stratify` needs them.

        Raises:
            InputError: there is no log-ratio, one is NaN or infinite, (normalize=False) a weight overflows, or
                (stratify) the rows' classes are not known.
        """
        log_w = self.log_weights(log_ratio, strata)
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
    check_tensor(log_ratio, "log_ratio")
    if log_ratio.ndim != 1 or log_ratio.numel() == 0:
        raise InputError(f"log_ratio: expected a non-empty vector (n,), got shape {tuple(log_ratio.shape)}")
    check_finite(log_ratio, "log_ratio")


def check_weights(weights: Tensor) -> None:
    """Raises InputError unless `weights` is a vector of finite, non-negative numbers, not all of them zero."""
    check_tensor(weights, "weights")
    if weights.ndim != 1 or weights.numel() == 0:
        raise InputError(f"weights: expected a non-empty vector (n,), got shape {tuple(weights.shape)}")
    check_finite(weights, "weights")
    if (weights < 0).any():
        raise InputError(f"weights: the smallest is {weights.min().item():.6g}; weights must be ≥ 0")
    if not (weights > 0).any():
        raise InputError("weights: all are zero; at least one must be positive")
