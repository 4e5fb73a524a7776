"""Each row's contribution to a score's error: influence functions of FID, KID, IS and class distance."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import one_hot

from lfiw.metrics.frechet import FrechetReference, squared_distance, weighted_moments
from lfiw.metrics.inception_score import inception_score
from lfiw.metrics.kernel import CentredCubicKernel, Kernel, check_kernel, cubic_kernel_for
from lfiw.metrics.projected import ProjectedSample
from lfiw.metrics.weighted_metric import (
    RowsMetric,
    check_sides,
    normalised_columns,
    reliability_correction,
    weight_columns,
)
from lfiw.weighting.diagnostics import effective_sample_size


@dataclass(frozen=True)
class Contributions:
    """Scores of k weightings, and the row-by-row terms whose squares sum to their variance.

    A score is a functional of both samples' distributions; its influence function at row i times the row's
    self-normalised weight w̄ᵢ is the row's term cᵢ (Jaeckel 1972; Efron 1982, chapter 6). The terms are divided by
    √(1 − w̄ᵢ), which makes the variance of a weighted mean under uniform weights the unbiased s²/n. This estimates
    the spread of the score over other samples of these sizes, with the function that gives the weights held fixed.

    Args:
        score: (k,).
        generated: (m, k); real: (n, k), empty if the score has no real side.
    """

    score: Float[Tensor, " k"]
    generated: Float[Tensor, "m k"]
    real: Float[Tensor, "n k"]

    def standard_errors(self) -> Float[Tensor, " k"]:
        """Returns the standard error of each score."""
        return self._sums(2).sqrt()

    def degrees_of_freedom(self) -> Float[Tensor, " k"]:
        """Returns the `effective_degrees_of_freedom` of each score's variance."""
        return effective_degrees_of_freedom(self._sums(2), self._sums(4), len(self.generated) + len(self.real))

    def differences(self, baseline: int = 0) -> "Contributions":
        """Subtracts column `baseline` from each score, paired, since both use the same rows."""
        of = (self.score, self.generated, self.real)
        return Contributions(*(values - values[..., baseline : baseline + 1] for values in of))

    def _sums(self, power: int) -> Float[Tensor, " k"]:
        return self.generated.pow(power).sum(0) + self.real.pow(power).sum(0)


def effective_degrees_of_freedom(squares: Float[Tensor, " k"], fourths: Float[Tensor, " k"], n: int) -> Tensor:
    """Computes ν = 2(Σc²)²/(Σc⁴ − (Σc²)²/n) from sums over n terms c; nan if all are zero.

    The variance Σc² is itself an estimate, with variance Σc⁴ − (Σc²)²/n; a χ²-variable of ν degrees of freedom has the
    same relative one (Satterthwaite, Biometrics Bulletin 2, 1946). It is about n for normally distributed terms,
    and small if a handful of rows makes up the variance: similar rows outside the sample would then change it.
    """
    return 2 * squares.square() / (fourths - squares.square() / n).clamp(min=torch.finfo(torch.float64).tiny)


def terms(influence: Float[Tensor, "n k"], normalised: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """Computes contributions from influences, which it centres, and self-normalised weights."""
    centred = influence - (normalised * influence).sum(0)
    return normalised * centred / (1 - normalised).clamp(min=torch.finfo(torch.float64).eps).sqrt()


ROWS = 4096  # rows whose quadratic forms are computed at a time
SMALLEST = 1e-6  # singular values below this part of the largest are rounding errors and are not inverted


def frechet_contributions(
    real: Float[Tensor, "n d"],
    generated: Float[Tensor, "m d"],
    generated_weights: Float[Tensor, "m k"],
    real_weights: Float[Tensor, " n"] | None = None,
    *,
    sample: ProjectedSample | None = None,
) -> Contributions:
    """Computes Fréchet distances of k weightings to the real rows, and each row's part in their error.

    With Σ_r = RRᵀ and RᵀΣ_gR = PD²Pᵀ the distance |μ_r−μ_g|² + tr(Σ_r + Σ_g) − 2 tr D has the gradients
    I − RPD⁻¹PᵀRᵀ in Σ_g and I − (Σ_gRP)D⁻³(Σ_gRP)ᵀ in Σ_r, and ±2(μ_r−μ_g) in the means: one eigendecomposition per
    weighting serves the score and both sides' influences. The rows' quadratic forms are in float32.

    Args:
        real, generated: any floating dtype.
        generated_weights: non-negative, any scale, one column per weighting.
        real_weights: non-negative, any scale, shared by all weightings; None is uniform.
        sample: the generated rows projected on the real ones' moments. If None, made here.

    Returns:
        Scores and terms. Terms of a weighting with an ESS below 2d, and all terms if the real side's is, are nan: the
        covariance is then not known well enough for gradients.

    Raises:
        InputError: a value is not finite, a weight is negative, a shape is wrong.
    """
    check_sides(real, generated)
    normalised = normalised_columns(weight_columns(generated_weights, generated), "generated")
    sample = sample or ProjectedSample(FrechetReference(real, real_weights), generated)
    normalised_real = normalised_columns(weight_columns(real_weights, real), "real")
    real_size = effective_sample_size(normalised_real[:, 0]).item()
    scores, of_generated, of_real = [], [], []
    distinct, place = torch.unique(normalised, dim=1, return_inverse=True)
    for column in distinct.T:
        if min(effective_sample_size(column).item(), real_size) < 2 * real.shape[1]:
            score = sample.distances(column[:, None])[0]
            generated_influence = column.new_full((len(generated),), torch.nan)
            real_influence = column.new_full((len(real),), torch.nan)
        else:
            score, generated_influence, real_influence = _influences(
                sample.reference, real, generated, normalised_real[:, 0], column
            )
        scores.append(score)
        of_generated.append(generated_influence)
        of_real.append(real_influence)
    return Contributions(
        torch.stack(scores)[place],
        terms(torch.stack(of_generated, dim=1)[:, place], normalised),
        terms(torch.stack(of_real, dim=1)[:, place], normalised_real.expand(-1, normalised.shape[1])),
    )


def _influences(
    reference: FrechetReference,
    real: Tensor,
    generated: Tensor,
    real_weights: Float[Tensor, " n"],
    weights: Float[Tensor, " m"],
) -> tuple[Float[Tensor, ""], Float[Tensor, " m"], Float[Tensor, " n"]]:
    """Returns the distance, and the influence of every generated and of every real row on it, not centred."""
    mean, covariance = weighted_moments(generated, weights, reference.centre)
    root = reference.root
    product = covariance @ root
    squares, vectors = torch.linalg.eigh(root.T @ product)
    singular = squares.clamp(min=0).sqrt()
    largest = singular[-1:].sum()  # real rows that are all equal have a root without columns
    inverse = torch.where(singular > SMALLEST * largest, 1 / singular, 0.0)
    difference = reference.mean - mean
    trace = root.square().sum() + covariance.trace()
    distance = squared_distance(difference, trace, singular.sum())
    # not for Σ_gRP, whose rounding small D would amplify by D⁻³ᐟ²
    scaled = root.float() @ (vectors * inverse.sqrt()).float()
    # the covariance is divided by (1 − Σw̄²), which raises a row's part in it
    scale = 1 / (1 - weights.square().sum())
    of_generated = _quadratic(generated, reference.centre, mean, scaled, -2 * difference, scale)
    scale = 1 / (1 - real_weights.square().sum())
    factor = product @ vectors * inverse**1.5
    of_real = _quadratic(real, reference.centre, reference.mean, factor, 2 * difference, scale)
    return distance, of_generated, of_real


def _quadratic(
    features: Tensor,
    centre: Float[Tensor, " d"],
    mean: Float[Tensor, " d"],
    factor: Float[Tensor, "d rank"],
    slope: Float[Tensor, " d"],
    scale: Float[Tensor, ""],
) -> Float[Tensor, " n"]:
    """Computes scale·xᵀ(I − FFᵀ)x + slope·x for every row x = f − centre − mean."""
    single = factor.float()
    parts = []
    for block in features.split(ROWS):
        x = (block.double() - centre).sub_(mean)
        projected = torch.linalg.vector_norm(x.float() @ single, dim=1, dtype=torch.float64)
        forms = x.square().sum(1) - projected.square()
        parts.append(scale * forms + x @ slope)
    return torch.cat(parts)


def null_distance(real: Float[Tensor, "n d"], effective_size: float) -> Float[Tensor, ""]:
    """Returns the mean Fréchet distance of two samples of the same normal distribution: the effect of noise alone.

    To second order in the covariances' errors it is (1/n + 1/ESS)·(tr Σ + ½ Σᵢⱼ λᵢλⱼ(1 + δᵢⱼ)/(λᵢ + λⱼ)) with the real
    covariance's eigenvalues λ and n real rows; the first term comes from the means.

    Args:
        effective_size: that of the generated side.
    """
    eigenvalues = torch.linalg.eigvalsh(weighted_moments(real)[1]).clamp(min=0)
    kept = eigenvalues[eigenvalues > eigenvalues[-1] * torch.finfo(torch.float64).eps]
    pairs = torch.outer(kept, kept) / (kept[:, None] + kept)
    spread = kept.sum() + (pairs.sum() + pairs.diagonal().sum()) / 2
    return (1 / len(real) + 1 / effective_size) * spread


BLOCK = 2048


def kernel_contributions(
    real: Float[Tensor, "n d"],
    generated: Float[Tensor, "m d"],
    generated_weights: Float[Tensor, "m k"],
    real_weights: Float[Tensor, " n"] | None = None,
) -> Contributions:
    """Computes the unbiased squared MMD of k weightings to the real rows, and each row's part in its error.

    A generated row's influence is 2(mean kernel to the other generated rows − mean kernel to the real rows), weights
    included, and a real row's likewise: the first-order (Hájek) projection of the U-statistic. Kernel values are made
    once, in blocks, for all weightings. Near MMD² = 0 the projection vanishes, and noise makes the estimated error
    larger than the true one: intervals are then conservative.

    Args:
        real, generated: any floating dtype.
        generated_weights: non-negative, any scale, one column per weighting.
        real_weights: non-negative, any scale, shared by all weightings; None is uniform.

    Raises:
        InputError: a value is not finite, a weight is negative, a shape is wrong, or one row of a side carries all the
            weight.
        LostScore: the kernel overflows.
    """
    check_sides(real, generated)
    w = normalised_columns(weight_columns(generated_weights, generated), "generated")
    v = normalised_columns(weight_columns(real_weights, real), "real")
    correction_generated = reliability_correction(w.sum(0), w.square().sum(0), "generated")
    correction_real = reliability_correction(v.sum(0), v.square().sum(0), "real")
    # mean kernel of each row to the other rows of its side, and to the other side
    kernel = cubic_kernel_for(real, generated)
    within_generated, within_real = _to_others(generated, w, kernel), _to_others(real, v, kernel)
    to_real, to_generated = w.new_zeros(len(generated), 1), w.new_zeros(len(real), w.shape[1])
    for i, x in enumerate(real.split(BLOCK)):
        rows = slice(i * BLOCK, i * BLOCK + len(x))
        for j, y in enumerate(generated.split(BLOCK)):
            columns = slice(j * BLOCK, j * BLOCK + len(y))
            values = kernel(x.double(), y.double())
            to_generated[rows] += values @ w[columns]
            to_real[columns] += values.T @ v[rows]
    cross = (w * to_real).sum(0)
    pairs_generated = (w * (1 - w) * within_generated).sum(0) / correction_generated
    pairs_real = (v * (1 - v) * within_real).sum(0) / correction_real
    score = pairs_generated + pairs_real - 2 * cross
    if isinstance(kernel, CentredCubicKernel):
        score = (
            score + kernel.left_out(generated, w) / correction_generated + kernel.left_out(real, v) / correction_real
        )
        within_generated += _left_out(kernel, generated, w)
        within_real += _left_out(kernel, real, v)
    check_kernel(score)
    return Contributions(
        score,
        terms(2 * (within_generated - to_real), w),
        terms(2 * (within_real - to_generated), v.expand(-1, w.shape[1])),
    )


class KernelContributions(RowsMetric):
    """`kernel_contributions` of all rows seen, in any order and batches; real rows are unweighted.

    Args:
        num_features: d.
        num_weightings: k, the number of weightings, served by one pass over the kernel.
        metric_options: the options of `torchmetrics.Metric`.
    """

    higher_is_better = False

    def compute(self) -> dict[str, Tensor]:
        """Returns the fields of `Contributions` by name; rows without weight have no term.

        Raises:
            InputError: a side has fewer than two rows that carry weight.
        """
        generated, weights = self._kept("generated")
        return vars(kernel_contributions(self._kept("real")[0], generated, weights))


def _left_out(kernel: CentredCubicKernel, features: Tensor, weights: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """Returns the mean of u over all rows but one, minus its mean over all rows."""
    alone = kernel.alone(features)[:, None]
    return weights * ((weights * alone).sum(0) - alone) / (1 - weights).clamp(min=torch.finfo(torch.float64).eps)


def _to_others(features: Tensor, weights: Float[Tensor, "n k"], kernel: Kernel) -> Float[Tensor, "n k"]:
    """Returns the weighted mean kernel of every row to the other rows."""
    sums = torch.zeros_like(weights)
    for i, x in enumerate(features.split(BLOCK)):
        rows = slice(i * BLOCK, i * BLOCK + len(x))
        for j, y in enumerate(features.split(BLOCK)[: i + 1]):
            columns = slice(j * BLOCK, j * BLOCK + len(y))
            values = kernel(x.double(), y.double())
            if i == j:
                values.fill_diagonal_(0)
            else:
                sums[columns] += values.T @ weights[rows]
            sums[rows] += values @ weights[columns]
    return sums / (1 - weights).clamp(min=torch.finfo(torch.float64).eps)


def inception_score_contributions(probabilities: Float[Tensor, "m c"], weights: Float[Tensor, "m k"]) -> Contributions:
    """Computes Inception Scores of k weightings, and each row's part in their error.

    log IS = Σ w̄ᵢ KL(pᵢ‖p̄) with p̄ = Σ w̄ᵢpᵢ: since Σ_c p̄_c = 1, its influence function is KL(pᵢ‖p̄) − log IS, and
    that of the score IS times as much.

    Args:
        probabilities: each row sums to 1.
        weights: non-negative, any scale, one column per weighting.

    Raises:
        InputError: as `inception_score`.
    """
    columns = weight_columns(weights, probabilities)
    score = inception_score(probabilities, columns)
    w = normalised_columns(columns, "generated")
    rows = probabilities.double()
    marginal = w.T @ rows
    # 0·log 0 = 0, since a class without mass has none in any row of positive weight
    cross = rows @ marginal.clamp(min=torch.finfo(torch.float64).tiny).log().T
    divergence = -torch.special.entr(rows).sum(1, keepdim=True) - cross
    return Contributions(score, score * terms(divergence, w), w.new_zeros(0, w.shape[1]))


def class_distance(real: Float[Tensor, " c"], generated: Float[Tensor, "k c"]) -> Float[Tensor, " k"]:
    """Returns the total variation distance ½ Σ_c |p_c − q_c| of class proportions: the mass to be moved."""
    return (generated - real).abs().sum(1) / 2


def class_distance_contributions(
    real: Int64[Tensor, " n"], generated: Int64[Tensor, " m"], weights: Float[Tensor, "m k"], num_classes: int
) -> Contributions:
    """Computes the class distances of k weightings to the real rows, and each row's part in their error.

    The influence of a generated row of class c is ½ sgn(q_c − p_c), that of a real row ½ sgn(p_c − q_c): the distance
    is linear unless some class has exactly the right share. Near 0 it is not, and noise alone keeps it above 0.

    Args:
        real, generated: classes in 0 … num_classes − 1.
        weights: non-negative, any scale, one column per weighting.

    Raises:
        InputError: a weight is negative or not finite.
    """
    of_real, of_generated = (one_hot(classes, num_classes).double() for classes in (real, generated))
    w = normalised_columns(weight_columns(weights, of_generated), "generated")
    gap = w.T @ of_generated - of_real.mean(0)
    signs = gap.sign().T / 2
    equal = w.new_full((len(real), 1), 1 / len(real))
    return Contributions(
        gap.abs().sum(1) / 2,
        terms(of_generated @ signs, w),
        terms(-of_real @ signs, equal.expand(-1, w.shape[1])),
    )
