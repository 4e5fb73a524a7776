"""Standard errors, controls of equal ESS and limits of an evaluation's scores, from the cached features."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from lfiw.data.splits import GENERATED, REAL, Subset
from lfiw.evaluation.module import Evaluation, LogitColumn
from lfiw.metrics import inception_score, kernel_distance
from lfiw.metrics.frechet import FrechetReference
from lfiw.metrics.influence import (
    Contributions,
    class_distance_contributions,
    frechet_contributions,
    inception_score_contributions,
    kernel_contributions,
    null_distance,
)
from lfiw.metrics.sample_size import NONE, control, extrapolate, interval_kind
from lfiw.schemas import Evaluation as Options
from lfiw.training.progress import with_progress
from lfiw.weighting.diagnostics import effective_sample_size, half_width

KERNEL_DIMENSION = 10  # the KID is a mean of kernel values, whatever the features' number: ESS ≥ 100 is enough


@dataclass(frozen=True)
class Scored:
    """One metric as functions of the rows' weights.

    Args:
        contributions: weights (m, k) → scores and what each row adds to their errors.
        scores: weights (m, k) → (k,).
        limit: rows, their weights → score; none where the score is unbiased and so has no limit to extrapolate to.
        null: effective size → the score that noise alone gives.
        num_real: real rows that the score knows; infinite if it needs none.
        dimension: of what it is made of.
        rows: the generated ones that the functions are of. If None, all.
    """

    contributions: Callable[[Float[Tensor, "m k"]], Contributions]
    scores: Callable[[Float[Tensor, "m k"]], Float[Tensor, " k"]]
    limit: Callable[[Int64[Tensor, " rows"], Float[Tensor, " rows"]], float] | None
    null: Callable[[float], float]
    num_real: float
    dimension: int
    rows: Bool[Tensor, " m"] | None = None

    def of_rows(self, weights: Float[Tensor, "m k"]) -> Float[Tensor, "r k"]:
        """Weights of all rows → of those that the functions are of, self-normalised."""
        if self.rows is None or bool(self.rows.all()):
            return weights
        return weights[self.rows] / weights[self.rows].sum(0)


@dataclass(frozen=True)
class Uncertainty:
    """What stands beside one metric, a value per weighting; nan where there is none.

    Args:
        standard_error, half_width: of the score, and what its 95 % interval reaches to either side;
        difference_error, difference_half_width: of its difference to the uniform weighting's, on the same rows.
        interval: how far that covers: nominal, conservative, few rows or none.
        control, control_error: mean score, and its standard error, of the same weights permuted across the rows.
        infinite, infinite_error: the score extrapolated to infinitely many samples.
    """

    standard_error: Sequence[float]
    half_width: Sequence[float]
    difference_error: Sequence[float]
    difference_half_width: Sequence[float]
    interval: Sequence[str]
    control: Sequence[float]
    control_error: Sequence[float]
    infinite: Sequence[float]
    infinite_error: Sequence[float]


def uncertainties_of(
    evaluation: Evaluation,
    real: Subset,
    generated: Subset,
    options: Options,
    extrapolated: Sequence[int],
    *,
    seed: int,
    progress: bool,
) -> dict[str, Uncertainty]:
    """What stands beside each standard score of an evaluation.

    Args:
        evaluation: after its test, by the standard definitions.
        real, generated: the evaluation rows.
        options: which of intervals, permutations and extrapolate to compute.
        extrapolated: columns of the weights to extrapolate.
        seed: of the permutations and the subsets.
        progress: show a progress bar.
    """
    if not (options.intervals or options.permutations or options.extrapolate):
        return {}
    weights = evaluation.weights
    scored = scored_metrics(evaluation, real, generated)
    shown = with_progress(scored.items(), "intervals", shown=progress)
    return {name: uncertainty(make(), weights, options, extrapolated, seed) for name, make in shown}


def scored_metrics(evaluation: Evaluation, real: Subset, generated: Subset) -> dict[str, Callable[[], Scored]]:
    """Name of a metric → how to make its functions: the features are read when its turn comes. Lost scores: none."""
    found: dict[str, Callable[[], Scored]] = {}
    for column in evaluation.features:
        found[f"fid{column.suffix}"] = partial(from_features, frechet_scored, real, generated, column.name)
        found[f"kid{column.suffix}"] = partial(from_pairs, evaluation.pairs, real, generated, column.name)
    for classes in evaluation.logits:
        found[f"is{classes.suffix}"] = partial(from_logits, generated, classes.name)
    for classes in evaluation.logits[-1:]:
        found[f"class_distance{classes.suffix}"] = partial(from_classes, real, generated, classes)
    return {name: make for name, make in found.items() if name not in evaluation.lost}


def from_features(make: Callable[[Tensor, Tensor], Scored], real: Subset, generated: Subset, column: str) -> Scored:
    return make(real.column(column), generated.column(column))


def from_pairs(pairs: Mapping[int, Tensor], real: Subset, generated: Subset, column: str) -> Scored:
    """The KID, of the rows that it compares."""
    compared = [
        Subset(subset.table, subset.rows[pairs[side]]) if side in pairs else subset
        for side, subset in ((REAL, real), (GENERATED, generated))
    ]
    scored = kernel_scored(compared[0].column(column), compared[1].column(column))
    return replace(scored, rows=pairs.get(GENERATED))


def from_logits(generated: Subset, column: str) -> Scored:
    return inception_scored(torch.softmax(generated.column(column).double(), dim=1))


def from_classes(real: Subset, generated: Subset, column: LogitColumn) -> Scored:
    """The class distance, by the likeliest class of each row."""
    of_real, of_generated = (subset.column(column.name).argmax(dim=1) for subset in (real, generated))
    shares = torch.bincount(of_real, minlength=column.size) / len(of_real)

    def contributions(weights: Float[Tensor, "m k"]) -> Contributions:
        return class_distance_contributions(of_real, of_generated, weights, column.size)

    return Scored(
        contributions,
        lambda weights: contributions(weights).score,
        None,
        # E|p̂ − q̂| of two samples of one share, normal approximation
        lambda size: (shares * (1 - shares) * (1 / len(real) + 1 / size) / (2 * math.pi)).sqrt().sum().item(),
        len(real),
        1,
    )


def frechet_scored(real: Tensor, generated: Tensor) -> Scored:
    reference = FrechetReference(real)

    @cache
    def noise() -> float:
        """Per 1/n + 1/m."""
        return null_distance(real, len(real)).item() * len(real) / 2

    return Scored(
        lambda weights: frechet_contributions(real, generated, weights),
        lambda weights: torch.stack([reference.distance(generated, column) for column in weights.T]),
        lambda rows, weights: reference.distance(generated[rows], weights).item(),
        lambda size: (1 / len(real) + 1 / size) * noise(),
        len(real),
        real.shape[1],
    )


def kernel_scored(real: Tensor, generated: Tensor) -> Scored:
    return Scored(
        lambda weights: kernel_contributions(real, generated, weights),
        lambda weights: kernel_distance(real, generated, generated_weights=weights),
        None,  # unbiased
        lambda size: 0.0,
        len(real),
        KERNEL_DIMENSION,
    )


def inception_scored(probabilities: Tensor) -> Scored:
    return Scored(
        lambda weights: inception_score_contributions(probabilities, weights),
        lambda weights: inception_score(probabilities, weights),
        lambda rows, weights: inception_score(probabilities[rows], weights).item(),
        lambda size: 0.0,
        math.inf,
        probabilities.shape[1],
    )


def uncertainty(
    scored: Scored,
    weights: Float[Tensor, "m k"],
    options: Options,
    extrapolated: Sequence[int],
    seed: int,
) -> Uncertainty:
    """All that stands beside one metric, under every weighting."""
    weights = scored.of_rows(weights)
    sizes = [effective_sample_size(column).item() for column in weights.T]
    unknown = [math.nan] * len(sizes)
    errors = widths = differences = difference_widths = unknown
    kinds = [NONE] * len(sizes)
    if options.intervals:
        contributions = scored.contributions(weights)
        paired = contributions.differences()
        kinds = [
            interval_kind(score, scored.null(size), min(size, scored.num_real), scored.dimension, degrees)
            for score, size, degrees in zip(
                contributions.score.tolist(), sizes, contributions.degrees_of_freedom().tolist(), strict=True
            )
        ]
        errors, widths = errors_and_widths(contributions, kinds)
        differences, difference_widths = errors_and_widths(paired, kinds)
    controls, control_errors = list(unknown), list(unknown)
    uneven = [i for i, column in enumerate(weights.T) if column.max() > column.min()]
    if options.permutations > 1 and uneven:
        means, spreads = control(scored.scores, weights[:, uneven], options.permutations, seed)
        for i, mean, spread in zip(uneven, means.tolist(), spreads.tolist(), strict=True):
            controls[i], control_errors[i] = mean, spread
    limits, limit_errors = list(unknown), list(unknown)
    limit = scored.limit
    if options.extrapolate and limit is not None:
        for i in dict.fromkeys(extrapolated):
            column = weights[:, i]
            limits[i], limit_errors[i] = extrapolate(partial(weighted_limit, limit, column), column, seed=seed)
    return Uncertainty(
        errors, widths, differences, difference_widths, kinds, controls, control_errors, limits, limit_errors
    )


def errors_and_widths(contributions: Contributions, kinds: Sequence[str]) -> tuple[list[float], list[float]]:
    """Standard errors and half widths of intervals; nan where there is no interval, so that none is shown."""
    of = zip(contributions.standard_errors().tolist(), contributions.degrees_of_freedom().tolist(), kinds, strict=True)
    errors, widths = [], []
    for error, degrees, kind in of:
        errors.append(error if kind != NONE else math.nan)
        widths.append(half_width(error, degrees) if kind != NONE else math.nan)
    return errors, widths


def weighted_limit(limit: Callable[[Tensor, Tensor], float], weights: Tensor, rows: Tensor) -> float:
    """The score of some rows under their weights."""
    return limit(rows, weights[rows])
