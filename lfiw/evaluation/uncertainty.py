"""Standard errors, controls of equal ESS and limits of an evaluation's scores, from the cached features."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from lfiw.data.splits import Subset
from lfiw.evaluation.module import Evaluation, LogitColumn
from lfiw.metrics import inception_score
from lfiw.metrics.frechet import FrechetReference
from lfiw.metrics.influence import (
    Contributions,
    class_distance_contributions,
    frechet_contributions,
    inception_score_contributions,
    null_distance,
)
from lfiw.metrics.projected import ProjectedSample
from lfiw.metrics.sample_size import NONE, control, control_columns, extrapolate, interval_kind
from lfiw.schemas import Evaluation as Options
from lfiw.training.progress import with_progress
from lfiw.weighting.diagnostics import effective_sample_size, half_width

KERNEL_DIMENSION = 10  # the KID is a mean of kernel values, whatever the features' number: ESS ≥ 100 is enough


@dataclass(frozen=True)
class Columns:
    """Weights of the rows that a metric compares, self-normalised: one column per score.

    Args:
        weights: of the weightings.
        permuted: of those that are not uniform, in `permutations` random orders: the controls.
        exponents: of ŵ^α, as far as no weighting has that exponent.
        uneven: numbers of the weightings that are not uniform.
        permutations: 0 if there are no controls.
    """

    weights: Float[Tensor, "m k"]
    permuted: Float[Tensor, "m p"]
    exponents: Float[Tensor, "m e"]
    uneven: Sequence[int]
    permutations: int

    @classmethod
    def of(
        cls,
        weights: Float[Tensor, "n k"],
        exponents: Float[Tensor, "n e"],
        rows: Bool[Tensor, " n"] | None,
        permutations: int,
        seed: int,
    ) -> "Columns":
        """Takes the weights of all rows to those of some; if None, of all."""
        if rows is not None and not rows.all():
            weights, exponents = (columns[rows] / columns[rows].sum(0) for columns in (weights, exponents))
        uneven = [i for i, column in enumerate(weights.T) if column.max() > column.min()]
        if permutations < 2 or not uneven:
            return cls(weights, weights[:, :0], exponents, uneven, 0)
        return cls(weights, control_columns(weights[:, uneven], permutations, seed), exponents, uneven, permutations)

    @property
    def further(self) -> Float[Tensor, "m j"]:
        """Returns the columns beside those of the weightings."""
        return torch.cat([self.permuted, self.exponents], dim=1)


@dataclass(frozen=True)
class Scored:
    """One metric as functions of the rows' weights.

    Args:
        contributions: weights of the weightings (m, k) → scores and what each row adds to their errors.
        further: further columns of weights (m, j) → scores (j,).
        limit: weights (m,) → rows → their score; none where the score is unbiased, with no limit to extrapolate to.
        null: effective size → the score that noise alone gives.
        num_real: real rows that the score knows; infinite if it needs none.
        dimension: of what it is made of.
    """

    contributions: Callable[[Float[Tensor, "m k"]], Contributions]
    further: Callable[[Float[Tensor, "m j"]], Float[Tensor, " j"]]
    limit: Callable[[Float[Tensor, " m"]], Callable[[Int64[Tensor, " rows"]], float | Float[Tensor, ""]]] | None
    null: Callable[[float], float]
    num_real: float
    dimension: int


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


@dataclass(frozen=True)
class Beside:
    """What stands beside the scores of the weightings, by the standard metrics' names.

    Args:
        uncertainties: empty if neither intervals nor controls nor limits were asked for.
        exponents: a score per column of `Columns.exponents`.
    """

    uncertainties: dict[str, Uncertainty]
    exponents: dict[str, list[float]]


def beside_scores(
    evaluation: Evaluation,
    real: Subset,
    generated: Subset,
    columns: Columns,
    columns_of_pairs: Columns,
    options: Options,
    extrapolated: Sequence[int],
    *,
    seed: int,
    progress: bool,
) -> Beside:
    """Computes what stands beside each standard score of an evaluation.

    Args:
        evaluation: after its test, by the standard definitions.
        real, generated: the evaluation rows.
        columns: weights of all generated rows; columns_of_pairs: of those that the KID compares.
        options: which of intervals, permutations and extrapolate to compute.
        extrapolated: columns of the weights to extrapolate.
        seed: of the subsets.
        progress: show a progress bar.
    """
    metrics = scored_metrics(evaluation, real, generated)
    found = Beside({}, {name: [] for name in metrics})
    uncertain = bool(options.intervals or options.permutations or options.extrapolate)
    if not uncertain and not columns.exponents.shape[1]:
        return found
    for name, make in with_progress(metrics.items(), "intervals", shown=progress):
        scored, own = make(), columns_of_pairs if name in evaluation.contributions else columns
        further = scored.further(own.further) if own.further.shape[1] else own.further.new_empty(0)
        controls, found.exponents[name] = further[: own.permuted.shape[1]], further[own.permuted.shape[1] :].tolist()
        if uncertain:
            found.uncertainties[name] = uncertainty(scored, own, controls, options, extrapolated, seed)
    return found


def scored_metrics(evaluation: Evaluation, real: Subset, generated: Subset) -> dict[str, Callable[[], Scored]]:
    """Name of a metric → how to make its functions: the features are read when its turn comes. Lost scores: none."""
    found: dict[str, Callable[[], Scored]] = {}
    for column in evaluation.features:
        found[f"fid{column.suffix}"] = partial(from_features, real, generated, column.name)
        found[f"kid{column.suffix}"] = partial(from_evaluation, evaluation, f"kid{column.suffix}")
    for classes in evaluation.logits:
        found[f"is{classes.suffix}"] = partial(from_logits, generated, classes.name)
    for classes in evaluation.logits[-1:]:
        found[f"class_distance{classes.suffix}"] = partial(from_classes, real, generated, classes)
    return {name: make for name, make in found.items() if name not in evaluation.lost}


def from_features(real: Subset, generated: Subset, column: str) -> Scored:
    return frechet_scored(real.column(column), generated.column(column))


def from_evaluation(evaluation: Evaluation, name: str) -> Scored:
    """The KID, whose kernel values the evaluation has computed once, for all columns of weights."""
    found, k = evaluation.contributions[name], evaluation.weights.shape[1]
    return Scored(
        lambda weights: Contributions(found.score[:k], found.generated[:, :k], found.real[:, :k]),
        lambda columns: found.score[k:],
        None,  # unbiased
        lambda size: 0.0,
        len(found.real),
        KERNEL_DIMENSION,
    )


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
    sample = ProjectedSample(FrechetReference(real), generated)

    @cache
    def noise() -> float:
        """Per 1/n + 1/m."""
        return null_distance(real, len(real)).item() * len(real) / 2

    return Scored(
        lambda weights: frechet_contributions(real, generated, weights, sample=sample),
        sample.distances,
        sample.parts,
        lambda size: (1 / len(real) + 1 / size) * noise(),
        len(real),
        real.shape[1],
    )


def inception_scored(probabilities: Tensor) -> Scored:
    return Scored(
        lambda weights: inception_score_contributions(probabilities, weights),
        lambda weights: inception_score(probabilities, weights),
        lambda weights: lambda rows: inception_score(probabilities[rows], weights[rows]),
        lambda size: 0.0,
        math.inf,
        probabilities.shape[1],
    )


def uncertainty(
    scored: Scored,
    columns: Columns,
    controls: Float[Tensor, " p"],
    options: Options,
    extrapolated: Sequence[int],
    seed: int,
) -> Uncertainty:
    """All that stands beside one metric, under every weighting; controls: the scores of the permuted weights."""
    weights = columns.weights
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
    means, spreads = list(unknown), list(unknown)
    if columns.permutations:
        of_uneven = zip(columns.uneven, *(v.tolist() for v in control(controls, columns.permutations)), strict=True)
        for i, mean, spread in of_uneven:
            means[i], spreads[i] = mean, spread
    limits, limit_errors = list(unknown), list(unknown)
    if options.extrapolate and scored.limit is not None:
        for i in dict.fromkeys(extrapolated):
            limits[i], limit_errors[i] = extrapolate(scored.limit(weights[:, i]), weights[:, i], seed=seed)
    return Uncertainty(errors, widths, differences, difference_widths, kinds, means, spreads, limits, limit_errors)


def errors_and_widths(contributions: Contributions, kinds: Sequence[str]) -> tuple[list[float], list[float]]:
    """Standard errors and half widths of intervals; nan where there is no interval, so that none is shown."""
    of = zip(contributions.standard_errors().tolist(), contributions.degrees_of_freedom().tolist(), kinds, strict=True)
    errors, widths = [], []
    for error, degrees, kind in of:
        errors.append(error if kind != NONE else math.nan)
        widths.append(half_width(error, degrees) if kind != NONE else math.nan)
    return errors, widths
