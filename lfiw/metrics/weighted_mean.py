"""Means under the data's distribution, from weighted generated rows and, if available, real ones.

A learned ratio is wrong somewhere, and no number of generated rows shows where. Real rows that trained nothing do:
their own mean is an unbiased estimate of the same truth.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lfiw.errors import InputError
from lfiw.metrics.influence import Contributions, terms
from lfiw.metrics.weighted_metric import normalised_columns
from lfiw.tensors import Columns, Vector, as_tensor
from lfiw.weighting.diagnostics import half_width
from lfiw.weighting.weights import Weighting, check_finite, check_weights

SMOOTHED = Weighting(smooth=True)
ROUNDING = 1e-12  # of a variance
BIAS = 2.0  # what a squared difference from the real rows' mean counts for: see `combined`


@dataclass(frozen=True)
class Interval:
    """An estimate per function, and what its 95 % interval reaches to either side; both (k,), float64."""

    value: Float[Tensor, " k"]
    half_width: Float[Tensor, " k"]

    def holds(self, truth: Float[Tensor, " k"]) -> Bool[Tensor, " k"]:
        """Returns whether each interval contains the given value."""
        return (self.value - truth).abs() <= self.half_width


@dataclass(frozen=True)
class WeightedMean:
    """Estimates of E_p[f] for k functions f.

    Args:
        uniform: the mean of the generated rows, uncorrected.
        ratio_fixed: their weighted mean. The interval tells how it varies with the generated rows alone: it holds the
            limit that these weights have on infinitely many rows, and the truth only where the ratio is exact.
        real: the mean of the real rows. None without them, as the following ones.
        auto: between uniform and weighted, wherever the estimated squared error is least; of generated rows alone, with
            the real ones as judges. share: (k,) of the weighted mean in it, in [0, 1].
        with_ratio_error: real and generated rows together, with an interval that holds the truth whatever the ratio
            gets wrong: as wide as that of the real rows alone, around a value that is nearer on average.
    """

    uniform: Interval
    ratio_fixed: Interval
    real: Interval | None = None
    auto: Float[Tensor, " k"] | None = None
    share: Float[Tensor, " k"] | None = None
    with_ratio_error: Interval | None = None

    def __str__(self) -> str:
        """One line per function and estimate."""
        named = {
            "as generated": self.uniform,
            "weighted (ratio fixed)": self.ratio_fixed,
            "real rows alone": self.real,
            "combined (with the ratio's error)": self.with_ratio_error,
        }
        lines = []
        for i in range(len(self.uniform.value)):
            for name, interval in named.items():
                if interval is not None:
                    lines.append(f"{i:>3}  {name:<34} {interval.value[i]:>12.6g} ± {interval.half_width[i]:.3g}")
        return "\n".join(lines)


def weighted_mean(
    values: Columns,
    log_ratio: Vector | None = None,
    *,
    weights: Vector | None = None,
    real: Columns | None = None,
) -> WeightedMean:
    """Estimates means under the data's distribution, with intervals that say what they cover.

    Args:
        values: the functions' values at the generated rows, (m,) or (m, k).
        log_ratio: of these rows; the weights are the Pareto-smoothed plain ones, which had the smallest error on
            densities that are known. Use log-ratios of classifiers that never saw the rows.
        weights: instead of log-ratios, any scale.
        real: the same functions at real rows that neither trained nor calibrated the ratio. Without them there is no
            interval that the truth can be expected in.

    Raises:
        InputError: a value is NaN or infinite, shapes do not match, a side has fewer than 2 rows, or not exactly one of
            log_ratio and weights is given.
    """
    f = checked(values, "values")
    if (log_ratio is None) == (weights is None):
        raise InputError("weighted_mean: give either log_ratio or weights")
    if log_ratio is not None:
        weights = SMOOTHED(log_ratio)
    weights = as_tensor(weights, "weights")
    check_weights(weights)
    if len(weights) != len(f):
        raise InputError(f"weighted_mean: {len(f)} rows of values, but {len(weights)} weights")
    centre = f.mean(0)  # sums of values far from zero would lose their digits
    columns = torch.stack([torch.ones_like(weights, dtype=torch.float64), weights.double()], dim=1)
    normalised = normalised_columns(columns, "generated")
    parts = [terms(f - centre, w[:, None].expand_as(f)) for w in normalised.T]
    (uniform, of_uniform), (weighted, of_weighted) = (
        (w @ (f - centre), part) for w, part in zip(normalised.T, parts, strict=True)
    )
    of_sides = interval(centre + uniform, of_uniform), interval(centre + weighted, of_weighted)
    if real is None:
        return WeightedMean(*of_sides)
    g = checked(real, "real")
    if g.shape[1] != f.shape[1]:
        raise InputError(f"weighted_mean: values has {f.shape[1]} functions, real has {g.shape[1]}")
    of_real = g - centre
    equal = torch.full_like(g, 1 / len(g))
    truth, of_truth = of_real.mean(0), terms(of_real, equal)
    variances = [part.square().sum(0) for part in (of_uniform, of_weighted, of_truth)]
    share = least_error_share(uniform - truth, weighted - truth, variances, (of_uniform * of_weighted).sum(0))
    by_itself = interval(centre + truth, of_truth)
    together = combined(uniform, weighted, truth, variances)
    return WeightedMean(
        *of_sides,
        by_itself,
        centre + share * weighted + (1 - share) * uniform,
        share,
        Interval(centre + together, by_itself.half_width),
    )


def checked(values: Columns, name: str) -> Float[Tensor, "n k"]:
    """Returns values as float64 columns.

    Raises:
        InputError: as `weighted_mean`.
    """
    values = as_tensor(values, name)
    if values.ndim not in (1, 2) or len(values) < 2:
        raise InputError(
            f"weighted_mean: {name} must be (rows,) or (rows, functions) of at least 2 rows, "
            f"found shape {tuple(values.shape)}"
        )
    check_finite(values, name)
    return values.double().reshape(len(values), -1)


def interval(value: Float[Tensor, " k"], parts: Float[Tensor, "n k"]) -> Interval:
    """Returns Student's t-interval of a mean from its rows' terms, with their effective degrees of freedom."""
    contributions = Contributions(value, parts, parts[:0])
    errors, degrees = contributions.standard_errors(), contributions.degrees_of_freedom()
    widths = [half_width(e, d) for e, d in zip(errors.tolist(), degrees.tolist(), strict=True)]
    return Interval(value, torch.tensor(widths, dtype=torch.float64))


def least_error_share(
    uniform_gap: Float[Tensor, " k"],
    weighted_gap: Float[Tensor, " k"],
    variances: list[Float[Tensor, " k"]],
    covariance: Float[Tensor, " k"],
) -> Float[Tensor, " k"]:
    """Returns the share s in [0, 1] at which s·weighted + (1 − s)·uniform has the least estimated squared error.

    That is s²m_w + (1 − s)²m_u + 2s(1 − s)m_uw, where each m is a (co)variance and the product of two biases. A bias is
    the difference from the real rows' mean; a square is less by the variances that are in it, and not below 0.

    Args:
        uniform_gap, weighted_gap: the two means minus that of the real rows.
        variances: of the uniform, the weighted and the real rows' mean.
        covariance: of the uniform and the weighted mean.
    """
    of_uniform, of_weighted, of_real = variances
    excess_uniform = uniform_gap.square() - of_uniform - of_real
    excess_weighted = weighted_gap.square() - of_weighted - of_real
    # the product's sign is noise unless both differences are more than that
    both = (excess_uniform > 0) & (excess_weighted > 0)
    product = torch.where(both, uniform_gap * weighted_gap - covariance - of_real, 0.0)
    m_uniform, m_weighted = of_uniform + excess_uniform.clamp(min=0), of_weighted + excess_weighted.clamp(min=0)
    m_both = covariance + product
    curvature = m_uniform + m_weighted - 2 * m_both
    share = torch.where(curvature > 0, (m_uniform - m_both) / curvature, 0.0)
    return share.clamp(0, 1)


def combined(
    uniform: Float[Tensor, " k"],
    weighted: Float[Tensor, " k"],
    real: Float[Tensor, " k"],
    variances: list[Float[Tensor, " k"]],
) -> Float[Tensor, " k"]:
    """Returns the precision-weighted mean of three estimates, of which only the real rows' is certainly unbiased.

    Another one counts by 1/(its variance + 2·(its difference from the real rows' mean)²). It moves the result by at
    most half a standard error of the real rows' mean, so that their interval around the result keeps at least 91 % of
    coverage whatever the bias, and 95 to 97 % where there is none or much (normal estimates, worst case over biases
    and variances). No interval that covers whatever the bias is much shorter (Armstrong & Kolesár 2018).
    """
    of_uniform, of_weighted, of_real = variances
    precision_real = 1 / of_real
    total, result = precision_real.clone(), precision_real * real
    for value, variance in ((uniform, of_uniform), (weighted, of_weighted)):
        uncertain = variance + BIAS * (value - real).square()
        precision = 1 / uncertain.clamp(min=ROUNDING * of_real)
        total, result = total + precision, result + precision * value
    return torch.where(of_real > 0, result / total, real)  # a constant has no variance
