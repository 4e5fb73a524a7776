"""Standard errors of weighted Fréchet distances."""

import torch
from jaxtyping import Float
from torch import Tensor

from lfiw.diagnostics import effective_sample_size
from lfiw.intervals.contributions import Contributions, terms
from lfiw.metrics.frechet import FrechetReference, squared_distance, weighted_moments
from lfiw.metrics.validation import check_features, check_same_width, normalised_columns, weight_columns

ROWS = 4096  # rows whose quadratic forms are computed at a time
SMALLEST = 1e-6  # singular values below this part of the largest are rounding: they have no inverse


def frechet_contributions(
    real: Float[Tensor, "n d"],
    generated: Float[Tensor, "m d"],
    generated_weights: Float[Tensor, "m k"],
    real_weights: Float[Tensor, " n"] | None = None,
) -> Contributions:
    """Fréchet distances of k weightings of the generated rows to the real rows, and each row's part in their error.

    With Σ_r = RRᵀ and RᵀΣ_gR = PD²Pᵀ the distance |μ_r−μ_g|² + tr(Σ_r + Σ_g) − 2 tr D has the gradients
    I − RPD⁻¹PᵀRᵀ in Σ_g and I − (Σ_gRP)D⁻³(Σ_gRP)ᵀ in Σ_r, and ±2(μ_r−μ_g) in the means: one eigendecomposition a
    weighting serves the score and both sides' influences. The rows' quadratic forms are in float32.

    Args:
        real, generated: any floating dtype.
        generated_weights: non-negative, any scale, one column a weighting.
        real_weights: non-negative, any scale, shared by all weightings; None is uniform.

    Returns:
        Terms of a weighting whose ESS, or of any if the real side's, is below 2d are nan: the gradients are then those
        of a covariance that is not known.

    Raises:
        InputError: a value is not finite, a weight is negative, a shape is wrong.
    """
    for name, features in (("real", real), ("generated", generated)):
        check_features(features, name=f"{name} features")
    check_same_width(real, generated)
    normalised = normalised_columns(weight_columns(generated_weights, len(generated)), "generated")
    reference = FrechetReference(real, real_weights)
    given = torch.ones(len(real), dtype=torch.float64) if real_weights is None else real_weights
    normalised_real = normalised_columns(weight_columns(given, len(real)), "real")
    real_size = effective_sample_size(normalised_real[:, 0]).item()
    scores, of_generated, of_real = [], [], []
    for column in normalised.T:
        if min(effective_sample_size(column).item(), real_size) < 2 * real.shape[1]:
            score = reference.distance(generated, column)
            generated_influence = column.new_full((len(generated),), torch.nan)
            real_influence = column.new_full((len(real),), torch.nan)
        else:
            score, generated_influence, real_influence = _influences(
                reference, real, generated, normalised_real[:, 0], column
            )
        scores.append(score)
        of_generated.append(generated_influence)
        of_real.append(real_influence)
    return Contributions(
        torch.stack(scores),
        terms(torch.stack(of_generated, dim=1), normalised),
        terms(torch.stack(of_real, dim=1), normalised_real.expand(-1, normalised.shape[1])),
    )


def _influences(
    reference: FrechetReference,
    real: Tensor,
    generated: Tensor,
    real_weights: Float[Tensor, " n"],
    weights: Float[Tensor, " m"],
) -> tuple[Float[Tensor, ""], Float[Tensor, " m"], Float[Tensor, " n"]]:
    """The distance, and the influence of every generated and of every real row on it, not centred."""
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
    # not so for Σ_gRP: small D⁻³ᐟ² would amplify its rounding
    scaled = root.float() @ (vectors * inverse.sqrt()).float()
    # (1 − Σw̄²) is in the covariance: a row's part in it is larger by that
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
    """scale·xᵀ(I − FFᵀ)x + slope·x of every row x = f − centre − mean."""
    single = factor.float()
    parts = []
    for block in features.split(ROWS):
        x = (block.double() - centre).sub_(mean)
        projected = torch.linalg.vector_norm(x.float() @ single, dim=1, dtype=torch.float64)
        forms = x.square().sum(1) - projected.square()
        parts.append(scale * forms + x @ slope)
    return torch.cat(parts)


def null_distance(real: Float[Tensor, "n d"], effective_size: float) -> Float[Tensor, ""]:
    """Fréchet distance that two samples of one normal distribution have on average: what noise alone makes of 0.

    To second order in the covariances' errors, (1/n + 1/ESS)·(tr Σ + ½ Σᵢⱼ λᵢλⱼ(1 + δᵢⱼ)/(λᵢ + λⱼ)) with the real
    covariance's eigenvalues λ and n real rows; the first term is that of the means.

    Args:
        effective_size: of the generated side.
    """
    eigenvalues = torch.linalg.eigvalsh(weighted_moments(real)[1]).clamp(min=0)
    kept = eigenvalues[eigenvalues > eigenvalues[-1] * torch.finfo(torch.float64).eps]
    pairs = torch.outer(kept, kept) / (kept[:, None] + kept)
    spread = kept.sum() + (pairs.sum() + pairs.diagonal().sum()) / 2
    return (1 / len(real) + 1 / effective_size) * spread
