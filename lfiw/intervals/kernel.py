"""Standard errors of weighted kernel distances (KID)."""

import torch
from jaxtyping import Float
from torch import Tensor

from lfiw.intervals.contributions import Contributions, terms
from lfiw.metrics.kernel import CentredCubicKernel, Kernel, check_kernel, cubic_kernel_for
from lfiw.metrics.validation import (
    check_features,
    check_same_width,
    normalised_columns,
    reliability_correction,
    weight_columns,
)

BLOCK = 2048


def kernel_contributions(
    real: Float[Tensor, "n d"],
    generated: Float[Tensor, "m d"],
    generated_weights: Float[Tensor, "m k"],
    real_weights: Float[Tensor, " n"] | None = None,
) -> Contributions:
    """Unbiased squared MMD of k weightings of the generated rows to the real rows, and each row's part in its error.

    A generated row's influence is 2(mean kernel to the other generated rows − mean kernel to the real rows), weights
    included, and a real row's likewise: the first-order (Hájek) projection of the U-statistic. Kernel values are made
    once, in blocks, for all weightings. Near MMD² = 0 the projection vanishes, and the error that noise leaves in it
    is larger than the true one: intervals are then conservative.

    Args:
        real, generated: any floating dtype.
        generated_weights: non-negative, any scale, one column a weighting.
        real_weights: non-negative, any scale, shared by all weightings; None is uniform.

    Raises:
        InputError: a value is not finite, a weight is negative, a shape is wrong, or one row of a side carries all the
            weight.
        LostScore: the kernel overflows.
    """
    for name, features in (("real", real), ("generated", generated)):
        check_features(features, name=f"{name} features")
    check_same_width(real, generated)
    w = normalised_columns(weight_columns(generated_weights, len(generated)), "generated")
    given = torch.ones(len(real), dtype=torch.float64) if real_weights is None else real_weights
    v = normalised_columns(weight_columns(given, len(real)), "real")
    correction_generated = reliability_correction(w.sum(0), w.square().sum(0), "generated")
    correction_real = reliability_correction(v.sum(0), v.square().sum(0), "real")
    # mean kernel of each row to the others of its side, and to the other side
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


def _left_out(kernel: CentredCubicKernel, features: Tensor, weights: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """What the mean of u over a row's others has beyond its mean over all rows."""
    alone = kernel.alone(features)[:, None]
    return weights * ((weights * alone).sum(0) - alone) / (1 - weights).clamp(min=torch.finfo(torch.float64).eps)


def _to_others(features: Tensor, weights: Float[Tensor, "n k"], kernel: Kernel) -> Float[Tensor, "n k"]:
    """Weighted mean kernel of every row to the other rows."""
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
