"""Measures how far weighted generated rows are from real ones, per column and by a classifier that sees all columns."""

import math

import numpy as np
import torch
from jaxtyping import Float, Int64
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import Tensor

from lfiw.metrics.influence import Contributions, terms
from lfiw.metrics.weighted_metric import check_same_width, normalised_columns, weight_columns
from lfiw.weighting.diagnostics import half_width
from lfiw.weighting.standard_units import mean_and_scale

MOST_FOR_TREES = 50  # columns; with more, boosted trees are slow, and a linear classifier is no worse
BINS = 64  # per column, for the trees


def standardised_mean_differences(
    real: Float[Tensor, "n d"], generated: Float[Tensor, "m d"], weights: Float[Tensor, " m"] | None = None
) -> Float[Tensor, " d"]:
    """Returns (Σ w̄ⱼyⱼ − mean x) / √((s²_real + s²_generated)/2) per column.

    Both variances are unweighted, so that weights change the numerator alone (Stuart, Statistical Science 25, 2010, and
    R's cobalt, where a column below 0.1 in size counts as balanced). Two constant sides give 0 if they are equal,
    otherwise an infinite value.

    Args:
        weights: of the generated rows, non-negative, any scale. If None, uniform.

    Raises:
        InputError: the widths differ, or the weights are negative, not finite, all zero or of another number of rows.
    """
    check_same_width(real, generated)
    normalised = normalised_columns(weight_columns(weights, generated), "generated")[:, 0]
    x, y = scaled(real, generated)
    difference = normalised @ y - x.mean(0)
    spread = ((x.var(0) + y.var(0)) / 2).sqrt()
    return torch.where(difference == 0, 0.0, difference / spread)


def scaled(real: Float[Tensor, "n d"], generated: Float[Tensor, "m d"]) -> tuple[Tensor, Tensor]:
    """Divides each column by its largest size on either side, in float64: squares of huge values must not overflow."""
    scale = torch.maximum(real.abs().amax(0), generated.abs().amax(0)).double()
    scale = torch.where(scale > 0, scale, 1.0)
    return real.double() / scale, generated.double() / scale


def kolmogorov_smirnov_distances(
    real: Float[Tensor, "n d"], generated: Float[Tensor, "m d"], weights: Float[Tensor, " m"] | None = None
) -> Float[Tensor, " d"]:
    """Returns per column the largest distance between the real and the weighted generated distribution function.

    Args and raises: as `standardised_mean_differences`.
    """
    check_same_width(real, generated)
    normalised = normalised_columns(weight_columns(weights, generated), "generated")[:, 0]
    mass = torch.cat([normalised.new_full((len(real),), -1 / len(real)), normalised])
    values, order = torch.cat([real.double(), generated.double()]).sort(dim=0)
    distance = mass[order].cumsum(0).abs()
    last = torch.ones_like(values, dtype=torch.bool)  # last of equal values: both functions jump there
    last[:-1] = values[1:] > values[:-1]
    return torch.where(last, distance, 0.0).amax(0)


def weighted_auc(
    real: Float[Tensor, " n"],
    generated: Float[Tensor, " m"],
    weights: Float[Tensor, " m"] | None = None,
    real_fold: Int64[Tensor, " n"] | None = None,
    generated_fold: Int64[Tensor, " m"] | None = None,
) -> tuple[float, float]:
    """Returns the area under the ROC curve of cross-fitted scores, and the half-width of its 95 % interval.

    AUC = Σⱼ w̄ⱼ bⱼ, where bⱼ is the share of the real rows in j's fold whose score is higher, ties counted half. A
    generated row's term in its error is w̄ⱼ(bⱼ − AUC)/√(1 − w̄ⱼ); that of a real row i of fold v is
    (aᵢ − mean a)/n_v · √(n_v/(n_v − 1)), where aᵢ is the weight in the fold whose score is lower. Their squares sum to
    the variance: in a single fold of uniform weights that of DeLong et al. (Biometrics 44, 1988), in several that of
    LeDell et al. (Electronic Journal of Statistics 9, 2015). The classifiers and the weights are held fixed.

    Args:
        real, generated: scores; higher ones mean real.
        weights: of the generated rows, non-negative, any scale. If None, uniform.
        real_fold, generated_fold: number of each row's fold, every one with real rows on both sides. If None, one fold.
    """
    normalised = normalised_columns(weight_columns(weights, generated[:, None]), "generated")
    real_fold = torch.zeros(len(real), dtype=torch.int64) if real_fold is None else real_fold
    generated_fold = torch.zeros(len(generated), dtype=torch.int64) if generated_fold is None else generated_fold
    higher, real_terms = torch.zeros_like(normalised), normalised.new_zeros(len(real), 1)
    for fold in real_fold.unique():
        mine, theirs = real_fold == fold, generated_fold == fold
        n = int(mine.sum())
        higher[theirs, 0] = 1 - mass_below(real[mine], torch.full((n,), 1 / n, dtype=torch.float64), generated[theirs])
        lower = mass_below(generated[theirs], normalised[theirs, 0], real[mine])
        real_terms[mine, 0] = (lower - lower.mean()) / n * math.sqrt(n / max(n - 1, 1))
    auc = (normalised * higher).sum(0)
    contributions = Contributions(auc, terms(higher, normalised), real_terms)
    error, degrees = contributions.standard_errors().item(), contributions.degrees_of_freedom().item()
    return auc.item(), half_width(error, degrees)


def mass_below(
    values: Float[Tensor, " n"], mass: Float[Tensor, " n"], points: Float[Tensor, " k"]
) -> Float[Tensor, " k"]:
    """Sums the mass of the values below each point, and half of that at it."""
    values, order = values.sort()
    total = torch.cat([mass.new_zeros(1), mass[order].cumsum(0)])
    below, up_to = (total[torch.searchsorted(values, points, right=right)] for right in (False, True))
    return (below + up_to) / 2


def classifier_two_sample_test(
    real: Float[Tensor, "n d"],
    generated: Float[Tensor, "m d"],
    weights: Float[Tensor, " m"] | None = None,
    *,
    folds: int = 3,
    seed: int = 0,
) -> tuple[float, float]:
    """Tells real from weighted generated rows by a new classifier; returns its AUC and the interval's half-width.

    The classifier two-sample test (Lopez-Paz & Oquab, ICLR 2017) on weighted rows, as hep_ml judges its reweighters:
    0.5 if weights leave no difference. Each fold is scored by boosted trees, or above 50 columns by a logistic
    regression, that learned from the other folds with the weights.

    The interval is √2 wider than that of `weighted_auc`. If the sides do not differ, a fold that happens to lean to one
    side trains the classifiers of the others and is scored by theirs: with Δ the difference of the sides in a fold, the
    sum over pairs of folds Δⱼ·Δₖ has each pair twice, which doubles the variance. If the sides differ much, the
    classifiers are nearly fixed, and the interval is wider than necessary.

    Args:
        weights: of the generated rows, non-negative, any scale. If None, uniform.
        seed: of the folds.

    Returns:
        (nan, nan) if a fold has no generated row of positive weight, or no real row.
    """
    check_same_width(real, generated)
    normalised = normalised_columns(weight_columns(weights, generated), "generated")[:, 0]
    rng = np.random.default_rng(seed)
    sides = [torch.from_numpy(rng.permutation(len(side)) % folds) for side in (real, generated)]
    carried = torch.bincount(sides[1][normalised > 0], minlength=folds)
    if len(real) < folds or (carried == 0).any():
        return math.nan, math.nan
    columns = torch.cat(scaled(real, generated))
    is_wide = real.shape[1] > MOST_FOR_TREES
    rows = (standardised(columns) if is_wide else binned(columns)).numpy()
    is_real = np.arange(len(rows)) < len(real)
    mass = np.concatenate([np.full(len(real), 1 / len(real)), normalised.numpy()]) * len(rows) / 2
    fold, scores = torch.cat(sides).numpy(), np.empty(len(rows))
    with threadpool_limits(1):  # with so few rows, threads wait for one another longer than they work
        for held_out in range(folds):
            train = (fold != held_out) & (mass > 0)
            classifier = second_classifier(is_wide).fit(rows[train], is_real[train], mass[train])
            scores[fold == held_out] = classifier.decision_function(rows[fold == held_out])
    real_scores, generated_scores = torch.from_numpy(scores).split([len(real), len(generated)])
    auc, half = weighted_auc(real_scores, generated_scores, normalised, *sides)
    return auc, half * math.sqrt(2)


def second_classifier(is_wide: bool) -> HistGradientBoostingClassifier | LogisticRegression:
    """Returns the classifier: unlike the networks of the ratio, and fast for this number of columns."""
    if is_wide:
        return LogisticRegression(max_iter=1000)
    return HistGradientBoostingClassifier(
        learning_rate=0.2, max_iter=30, max_leaf_nodes=8, max_bins=BINS, early_stopping=False, random_state=0
    )


def standardised(columns: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Returns columns of mean 0 and standard deviation 1; constant ones are 0."""
    mean, scale = mean_and_scale(columns)
    return (columns - mean) / scale


def binned(columns: Float[Tensor, "n d"]) -> Int64[Tensor, "n d"]:
    """Replaces values by the number of their quantile interval, which is all that trees need.

    scikit-learn's own binning of weighted rows takes longer than the trees.
    """
    edges = torch.from_numpy(np.quantile(columns.numpy(), np.linspace(0, 1, BINS + 1)[1:-1], axis=0))
    return torch.searchsorted(edges.T.contiguous(), columns.T.contiguous()).T
