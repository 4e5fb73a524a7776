"""The scores as in the official code of Grover et al. 2019, which uses weights on their given scale."""

import torch
from jaxtyping import Float
from torch import Tensor

from lfiw.errors import InputError
from lfiw.metrics.frechet import FrechetDistance, Moments
from lfiw.metrics.inception_score import InceptionScore, mutual_information
from lfiw.metrics.kernel import Kernel, cross_sum, off_diagonal_sum
from lfiw.metrics.weighted_metric import (
    RowsMetric,
    check_total_weight,
    checked_sides,
    normalised_columns,
    scalar_unless_columns,
    shared_column,
)

# Rows that differ by less than this part of their size are equal up to the rounding of their centre.
_SMALLEST_RELATIVE_SPREAD = 1e-14


def scale_given(weight: Float[Tensor, " k"], uniform_rows: Float[Tensor, ""], side: str) -> Float[Tensor, " k"]:
    """Returns s, the sum of the given weights; 1 if no row had one, so that each row counts 1/n.

    Args:
        weight: Σ w over the rows that came with weights.
        uniform_rows: the number of rows without weights.
        side: the rows' name in messages.

    Raises:
        InputError: only some rows have weights, so that their scale is meaningless.
    """
    if not (weight > 0).any():
        return torch.ones_like(weight)
    if uniform_rows > 0:
        raise InputError(
            f"{int(uniform_rows)} {side} rows came without weights and others with, expected one or the other in the "
            "paper's scores: pass weights with every batch"
        )
    return weight


class PaperFrechetDistance(FrechetDistance):
    """`FrechetDistance` with mean and covariance scaled by s, the sum of the given weights."""

    def _moments(self, side: str, weighting: int) -> Moments:
        moments = super()._moments(side, weighting)
        given = getattr(self, f"{side}_weight")[weighting : weighting + 1]
        scale = scale_given(given, getattr(self, f"{side}_uniform_rows"), side)
        # scales mean + centre, then subtracts the centre
        mean = scale * moments.mean + (scale - 1) * self.centre
        return Moments(mean, scale * moments.covariance, scale * moments.size)


class PaperInceptionScore(InceptionScore):
    """`InceptionScore` with the given weights in both places: exp(Σ wᵢ KL(pᵢ ‖ Σ wⱼpⱼ))."""

    def _information(self, marginal: Float[Tensor, "k c"], mean_entropy: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        scale = scale_given(self.weight, self.uniform_rows, "generated")
        return mutual_information(scale[:, None] * marginal, scale * mean_entropy)


class PaperKernelDistance(RowsMetric):
    """`gaussian_kernel_distance` of all rows seen."""

    higher_is_better = False

    def compute(self) -> Float[Tensor, "*k"]:
        """Returns the distance of each weighting, as `KernelDistance.compute`."""
        real, real_weights = self._as_given("real")
        generated, generated_weights = self._as_given("generated")
        # a shared column of real weights: one kernel, one bandwidth
        values = gaussian_kernel_distance(real, generated, shared_column(real_weights), generated_weights)
        return self._per_weighting(values)

    def _as_given(self, side: str) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n k"]]:
        features, weights = self._kept(side)
        uniform_rows = getattr(self, f"{side}_uniform_rows")
        given = weights.sum(dim=0) if uniform_rows < len(weights) else weights.new_zeros(self.num_weightings)
        return features, normalised_columns(weights, side) * scale_given(given, uniform_rows, side)


def gaussian_kernel_distance(
    real: Float[Tensor, "n d"],
    generated: Float[Tensor, "m d"],
    real_weights: Float[Tensor, " n"] | Float[Tensor, "n k"] | None = None,
    generated_weights: Float[Tensor, " m"] | Float[Tensor, "m k"] | None = None,
    block_size: int = 2048,
) -> Float[Tensor, "*k"]:
    """Computes the "KID" of Grover et al. 2019's official code: √ of the biased squared MMD with a Gaussian kernel.

    √(Σ vᵢvⱼk(xᵢ,xⱼ) + Σ wᵢwⱼk(yᵢ,yⱼ) − 2 Σ vᵢwⱼk(xᵢ,yⱼ)) over all pairs, with k(x, y) = exp(−|x−y|²/2s) and s the
    (weighted) mean of |x−x'|² over all pairs of real rows. It is not comparable with other papers' KID.

    Args:
        real, generated: any floating dtype.
        real_weights, generated_weights: used on their given scale, shape (n,) or one column per weighting; None is 1/n.
        block_size: rows of a block; memory is about 3·8·block_size² bytes beside the features.

    Returns:
        A float64 scalar, or shape (k,) if weights have columns; at least 0.

    Raises:
        InputError: a value is not finite, a weight is negative, a shape is wrong, a side has no weight, or all real
            rows are equal (s = 0).
    """
    real, v, generated, w = checked_sides(real, generated, real_weights, generated_weights, block_size)
    v = normalised_columns(v, "real") if real_weights is None else v
    w = normalised_columns(w, "generated") if generated_weights is None else w
    check_total_weight(w.sum(dim=0), "generated")
    if v.shape[1] == 1:
        squared = _gaussian_squared_distances(real, v, generated, w, block_size)
    else:  # each column of real weights has its own s, hence its own kernel
        pairs = zip(v.split(1, dim=1), w.expand(-1, v.shape[1]).split(1, dim=1), strict=True)
        squared = torch.cat([_gaussian_squared_distances(real, a, generated, b, block_size) for a, b in pairs])
    if not torch.isfinite(squared).all():
        raise InputError("sums of weights overflow float64: give weights that sum to about 1")
    return scalar_unless_columns(squared.clamp(min=0).sqrt(), real_weights, generated_weights)


def _gaussian_squared_distances(
    real: Float[Tensor, "n d"],
    v: Float[Tensor, "n 1"],
    generated: Float[Tensor, "m d"],
    w: Float[Tensor, "m k"],
    block_size: int,
) -> Float[Tensor, " k"]:
    """Computes the squared `gaussian_kernel_distance` for one column of real weights."""
    normalised = normalised_columns(v, "real")
    blocks = list(zip(real.split(block_size), normalised.split(block_size), strict=True))
    # Distances from centred rows lose fewer digits to cancellation.
    centre = torch.stack([u[:, 0] @ x.double() for x, u in blocks]).sum(dim=0)
    spread = torch.stack([u[:, 0] @ (x.double() - centre).square().sum(dim=1) for x, u in blocks]).sum()
    if spread.sqrt() <= _SMALLEST_RELATIVE_SPREAD * centre.norm():
        raise InputError("all real rows are equal, so the kernel has no bandwidth: expected at least 2 distinct rows")
    kernel = _gaussian_kernel(centre, 2 * spread)  # mean |x−x′|² = 2·mean |x−centre|²

    # k(x, x) = 1 puts Σ w² on the diagonal.
    within_real = off_diagonal_sum(real, v, kernel, block_size) + v.square().sum(dim=0)
    within_generated = off_diagonal_sum(generated, w, kernel, block_size) + w.square().sum(dim=0)
    return within_real + within_generated - 2 * cross_sum(real, v, generated, w, kernel, block_size)


def _gaussian_kernel(centre: Float[Tensor, " d"], mean_squared_distance: Float[Tensor, ""]) -> Kernel:
    def kernel(x: Float[Tensor, "a d"], y: Float[Tensor, "b d"]) -> Float[Tensor, "a b"]:
        x, y = x - centre, y - centre
        squared_norms = x.square().sum(dim=1)[:, None] + y.square().sum(dim=1)
        squared_distances = squared_norms.sub_(x @ y.T, alpha=2).clamp_(min=0)
        return squared_distances.div_(-2 * mean_squared_distance).exp_()

    return kernel
