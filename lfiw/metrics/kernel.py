"""Kernel distance (squared maximum mean discrepancy) between weighted samples."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lfiw.errors import InputError, LostScore
from lfiw.metrics.weighted_metric import (
    RowsMetric,
    checked_sides,
    normalised_columns,
    reliability_correction,
    scalar_unless_columns,
    shared_column,
)

_ROWS = 4096  # converted to float64 at a time
# Kernels whose argument x·y/d + 1 varies by less than this part of its size are computed about a centre.
_SMALLEST_VARIATION = 1e-4

Kernel = Callable[[Tensor, Tensor], Tensor]


def kernel_distance(
    real: Float[Tensor, "n d"],
    generated: Float[Tensor, "m d"],
    real_weights: Float[Tensor, " n"] | Float[Tensor, "n k"] | None = None,
    generated_weights: Float[Tensor, " m"] | Float[Tensor, "m k"] | None = None,
    block_size: int = 2048,
) -> Float[Tensor, "*k"]:
    """Computes the unbiased squared MMD with the kernel k(x, y) = (x·y/d + 1)³ (Bińkowski et al. 2018, eq. 4).

    Σ_{i≠j} v̄ᵢv̄ⱼk(xᵢ,xⱼ)/(1 − Σv̄²) + Σ_{i≠j} w̄ᵢw̄ⱼk(yᵢ,yⱼ)/(1 − Σw̄²) − 2 Σ v̄ᵢw̄ⱼk(xᵢ,yⱼ), with v̄ and w̄ the real and
    the generated weights, self-normalised. Uniform weights give the usual U-statistic. It may be slightly negative.
    Kernel values are computed once, in float64, block by block, for all k weightings.

    The kernel takes the features as they are: it grows with their distance from zero, and so does the score. No digits
    are lost: far from zero, and for very small features, parts that cancel are left out (`CentredCubicKernel`).

    Args:
        real, generated: any floating dtype.
        real_weights, generated_weights: non-negative, any scale, (n,) or one column per weighting; None is uniform.
        block_size: rows per block; memory is about 3·8·block_size² bytes beside the features.

    Returns:
        A float64 scalar, or shape (k,) if weights have columns.

    Raises:
        InputError: a value is not finite, a weight is negative, a shape is wrong, or fewer than two rows of a side
            carry weight.
        LostScore: the kernel overflows.
    """
    real, v, generated, w = checked_sides(real, generated, real_weights, generated_weights, block_size)
    v, w = normalised_columns(v, "real"), normalised_columns(w, "generated")
    kernel = cubic_kernel_for(real, generated)
    values = -2 * cross_sum(real, v, generated, w, kernel, block_size)
    for side, features, weights in (("real", real, v), ("generated", generated, w)):
        pairs = off_diagonal_sum(features, weights, kernel, block_size)
        if isinstance(kernel, CentredCubicKernel):
            pairs = pairs + kernel.left_out(features, weights)
        values = values + pairs / reliability_correction(weights.sum(dim=0), weights.square().sum(dim=0), side)
    check_kernel(values)
    return scalar_unless_columns(values, real_weights, generated_weights)


def subset_kernel_distances(
    real: Float[Tensor, "n d"], generated: Float[Tensor, "m d"], subsets: int, subset_size: int, seed: int
) -> Float[Tensor, " subsets"]:
    """Computes `kernel_distance` on random subsets, whose mean torch-fidelity reports.

    Rows are drawn as torch-fidelity draws them with the generated samples as its input 1 and the real ones as input 2:
    without replacement within a subset, by NumPy's `RandomState(seed)`. The order of the rows matters.

    Args:
        real, generated: any floating dtype, at least `subset_size` rows each.
        subsets: how many; torch-fidelity's default is 100.
        subset_size: rows of each side in a subset; torch-fidelity's default is 1000.
        seed: of the draws; torch-fidelity's default is 2020.

    Raises:
        InputError: a side has fewer rows than a subset, or a value is not finite.
    """
    for side, rows in (("real", real), ("generated", generated)):
        if len(rows) < subset_size:
            raise InputError(f"the {side} side has {len(rows)} rows, expected at least subset_size={subset_size}")
    # RandomState is frozen by NumPy's policy, which is why the draws can be reproduced.
    draws = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        generated_rows = torch.from_numpy(draws.choice(len(generated), subset_size, replace=False))
        real_rows = torch.from_numpy(draws.choice(len(real), subset_size, replace=False))
        values.append(kernel_distance(real[real_rows.to(real.device)], generated[generated_rows.to(generated.device)]))
    return torch.stack(values)


class KernelDistance(RowsMetric):
    """Weighted kernel distance (KID when the features are Inception's), on all rows, unbiased.

    `kernel_distance` of all rows seen; their order and batches do not matter. It keeps the features in memory, in the
    given dtype. With `subsets`, the mean over random subsets instead, as torch-fidelity computes it (see
    `subset_kernel_distances`; without weights, and the order of the rows matters); `compute_std` gives its spread.

    Args:
        num_features: d.
        num_weightings: k, the number of weightings, served by one pass over the kernel.
        subsets: number of subsets; None is the full sample.
        subset_size: rows of each side in a subset; needed with `subsets`.
        seed: of the subsets.
        metric_options: the options of `torchmetrics.Metric`.

    Raises:
        InputError: an argument is out of its range, or `subsets` goes with several weightings.

    Example:
        >>> kid = KernelDistance(num_features=1)
        >>> kid.update(torch.tensor([[0.0], [1.0]]), real=True)
        >>> kid.update(torch.tensor([[0.0], [2.0]]), real=False)
        >>> kid.compute()  # 1 + 1 − 2·(1 + 1 + 1 + 27)/4
        tensor(-13., dtype=torch.float64)
    """

    higher_is_better = False

    def __init__(
        self,
        num_features: int,
        num_weightings: int = 1,
        subsets: int | None = None,
        subset_size: int | None = None,
        seed: int = 2020,
        **metric_options: Any,
    ) -> None:
        super().__init__(num_features, num_weightings, **metric_options)
        if (subsets is None) != (subset_size is None):
            raise InputError(f"subsets={subsets} and subset_size={subset_size}: expected both or neither")
        if subsets is not None and num_weightings > 1:
            raise InputError(
                "subsets are drawn without weights, expected num_weightings=1: "
                "leave subsets out for the weighted full-sample statistic"
            )
        if subsets is not None and subset_size is not None and (subsets < 1 or subset_size < 2):
            raise InputError(f"subsets={subsets} and subset_size={subset_size}, expected at least 1 and 2")
        self.subsets = subsets
        self.subset_size = subset_size
        self.seed = seed
        self._subset_distances: Tensor | None = None

    def _add_rows(self, side: str, rows: Float[Tensor, "n d"], weights: Tensor | None) -> None:
        """Adds the rows; raises InputError if weights come with `subsets`."""
        if weights is not None and self.subsets is not None:
            raise InputError("subsets are drawn without weights, expected weights=None: leave subsets out for weights")
        super()._add_rows(side, rows, weights)

    def compute(self) -> Float[Tensor, "*k"]:
        """Returns the distance of each weighting (with `subsets`, the mean over the subsets).

        Returns:
            A float64 scalar, or shape (num_weightings,) for more than one.

        Raises:
            InputError: a side has fewer than two rows that carry weight, or fewer than a subset.
        """
        real, real_weights = self._kept("real")
        generated, generated_weights = self._kept("generated")
        if self.subsets is not None and self.subset_size is not None:
            self._subset_distances = subset_kernel_distances(real, generated, self.subsets, self.subset_size, self.seed)
            return self._subset_distances.mean()
        return self._per_weighting(kernel_distance(real, generated, shared_column(real_weights), generated_weights))

    def compute_std(self) -> Float[Tensor, ""]:
        """Returns the standard deviation over the subsets (divided by their number, as torch-fidelity's).

        Raises:
            InputError: the metric was made without `subsets`.
        """
        if self.subsets is None:
            raise InputError("the standard deviation is over subsets, expected subsets= and subset_size= at the start")
        self.compute()
        assert self._subset_distances is not None
        return self._subset_distances.std(correction=0)


def check_kernel(values: Tensor) -> None:
    """Raises LostScore if a score is not finite."""
    if not torch.isfinite(values).all():
        raise LostScore("the kernel of these features overflows float64: rescale the features")


def cubic_kernel(x: Float[Tensor, "a d"], y: Float[Tensor, "b d"]) -> Float[Tensor, "a b"]:
    return (x @ y.T).div_(x.shape[1]).add_(1).pow_(3)


def cubic_kernel_for(real: Float[Tensor, "n d"], generated: Float[Tensor, "m d"]) -> Kernel:
    """Returns `cubic_kernel`, or its centred form if x·y/d + 1 varies so little that the scores would cancel."""
    centre, other = (rows.mean(dim=0, dtype=torch.float64) for rows in (real, generated))
    squares = sum(torch.linalg.vector_norm(x, dtype=torch.float64).square() / len(x) for x in (real, generated))
    variation = squares - centre.square().sum() - other.square().sum() + (centre - other).square().sum()
    if variation > _SMALLEST_VARIATION * (real.shape[1] + squares):
        return cubic_kernel
    return CentredCubicKernel(centre)


class CentredCubicKernel:
    """The cubic kernel without all terms that depend on only one of the two rows, which cancel in a squared MMD.

    With x = c + a, y = c + b and A = 1 + c·c/d, α = c·a/d, β = c·b/d, g = a·b/d, s = A + α + β the kernel (s + g)³ is

        A³ + u(a) + u(b) + 3αβ(s + A) + g(3s² + 3sg + g²),  u(a) = α(3A² + 3Aα + α²).

    Calling it computes the last two terms, which are products of small numbers, not differences of large ones. Under
    weights that are not uniform, a little of u remains in an unbiased sum over pairs: see `left_out`.

    Args:
        centre: c, near the rows.
    """

    def __init__(self, centre: Float[Tensor, " d"]) -> None:
        self.centre = centre
        self.size = 1 + centre.square().sum() / len(centre)

    def __call__(self, x: Float[Tensor, "a d"], y: Float[Tensor, "b d"]) -> Float[Tensor, "a b"]:
        a, b = x - self.centre, y - self.centre
        alpha, beta = self._along_centre(a)[:, None], self._along_centre(b)
        s = self.size + alpha + beta
        g = (a @ b.T).div_(len(self.centre))
        return 3 * alpha * beta * (s + self.size) + g * (3 * s.square() + 3 * s * g + g.square())

    def alone(self, features: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Computes u per row."""
        alpha = torch.cat([self._along_centre(x.double() - self.centre) for x in features.split(_ROWS)])
        return alpha * (3 * self.size.square() + 3 * self.size * alpha + alpha.square())

    def left_out(self, features: Float[Tensor, "n d"], weights: Float[Tensor, "n k"]) -> Float[Tensor, " k"]:
        """Computes Σ_{i≠j} w̄ᵢw̄ⱼ(u(xᵢ) + u(xⱼ)) − 2(1 − Σw̄²) Σ w̄ᵢu(xᵢ) = 2 Σ w̄ᵢ(Σw̄² − w̄ᵢ)u(xᵢ)."""
        alone = self.alone(features)[:, None]
        centred = alone - (weights * alone).sum(dim=0)  # changes nothing but rounding: Σ w̄ᵢ(Σw̄² − w̄ᵢ) = 0
        return 2 * (weights * (weights.square().sum(dim=0) - weights) * centred).sum(dim=0)

    def _along_centre(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return rows @ self.centre / len(self.centre)


def off_diagonal_sum(
    features: Float[Tensor, "n d"], weights: Float[Tensor, "n k"], kernel: Kernel, block_size: int
) -> Float[Tensor, " k"]:
    """Computes Σ_{i≠j} wᵢwⱼk(xᵢ,xⱼ); the kernel is symmetric, so each pair of blocks is computed once."""
    total = weights.new_zeros(weights.shape[1])
    blocks = list(zip(features.split(block_size), weights.split(block_size), strict=True))
    for i, (x, w) in enumerate(blocks):
        x = x.double()
        for j, (other, other_w) in enumerate(blocks[: i + 1]):
            values = kernel(x, other.double())
            if i == j:
                values.fill_diagonal_(0)
            total += (1 if i == j else 2) * (values @ other_w).mul_(w).sum(dim=0)
    return total


def cross_sum(
    real: Float[Tensor, "n d"],
    v: Float[Tensor, "n kv"],
    generated: Float[Tensor, "m d"],
    w: Float[Tensor, "m kw"],
    kernel: Kernel,
    block_size: int,
) -> Float[Tensor, " k"]:
    """Computes Σ vᵢwⱼk(xᵢ,yⱼ)."""
    total = w.new_zeros(max(v.shape[1], w.shape[1]))
    for x, v_block in zip(real.split(block_size), v.split(block_size), strict=True):
        x = x.double()
        for y, w_block in zip(generated.split(block_size), w.split(block_size), strict=True):
            total += ((kernel(x, y.double()) @ w_block) * v_block).sum(dim=0)
    return total
