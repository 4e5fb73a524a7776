"""What every weighted metric asks of its inputs, at the cost of a few reductions over the batch.

Tensors that are yet to be checked are annotated as plain `Tensor`: their shape and dtype are the question.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from lfiw.errors import InputError

# 1 − Σ w̄² is a difference of numbers near 1: below this it is mostly rounding, and one row has all the weight.
_SMALLEST_SPREAD = 1e-12


def check_features(features: Tensor, num_features: int | None = None, name: str = "features") -> None:
    """Require a finite floating-point matrix, one row a sample.

    Args:
        features: shape (n, d), any floating dtype; zero rows are allowed.
        num_features: the required d, if it is fixed.
        name: what the message calls the tensor.

    Raises:
        InputError: the dtype is not floating, the shape is not (n, d), or a value is NaN or infinite.
    """
    if not features.is_floating_point():
        raise InputError(f"{name} have dtype {features.dtype}, expected a floating dtype: convert with .float()")
    columns = "d" if num_features is None else num_features
    if features.ndim != 2 or (num_features is not None and features.shape[1] != num_features):
        raise InputError(f"{name} have shape {tuple(features.shape)}, expected (n, {columns}): one row a sample")
    # Summed in float64, so that finite half-precision values cannot overflow.
    if not torch.isfinite(features.detach().sum(dtype=torch.float64)):
        raise InputError(f"{name} contain NaN or infinite values, expected finite ones: drop or repair those rows")


def check_same_width(real: Tensor, generated: Tensor) -> None:
    """Require as many columns on both sides.

    Raises:
        InputError: the numbers of columns differ.
    """
    if real.shape[1] != generated.shape[1]:
        raise InputError(
            f"real features have {real.shape[1]} columns and generated ones {generated.shape[1]}, "
            "expected as many: use one extractor for both"
        )


def weight_columns(weights: Tensor, num_rows: int, num_weightings: int | None = None) -> Float[Tensor, "n columns"]:
    """Checked weights as a float64 matrix, one column a weighting.

    Args:
        weights: shape (n,) or (n, k), non-negative, any scale.
        num_rows: the required n.
        num_weightings: the required k of a matrix, if it is fixed.

    Returns:
        Shape (n, 1) for weights of shape (n,), else (n, k).

    Raises:
        InputError: the dtype or shape is wrong, or a weight is negative, NaN or infinite.
    """
    if not weights.is_floating_point():
        raise InputError(f"weights have dtype {weights.dtype}, expected a floating dtype: convert with .double()")
    matrix_width = "k" if num_weightings is None else num_weightings
    right_width = weights.ndim == 1 or (weights.ndim == 2 and num_weightings in (None, weights.shape[1]))
    if not right_width or len(weights) != num_rows:
        raise InputError(
            f"weights have shape {tuple(weights.shape)}, expected ({num_rows},) or ({num_rows}, {matrix_width}): "
            "one weight for each row of the batch"
        )
    columns = weights.detach().double()
    if columns.ndim == 1:
        columns = columns[:, None]
    if columns.numel():
        low, high = torch.aminmax(columns)
        if not torch.isfinite(low) or not torch.isfinite(high):
            raise InputError("weights contain NaN or infinite values, expected finite ones: normalise in log space")
        if low < 0:
            raise InputError(f"a weight is {low.item():.6g}, expected non-negative values: weights are density ratios")
    return columns


def normalised_columns(columns: Float[Tensor, "n k"], side: str) -> Float[Tensor, "n k"]:
    """Self-normalised weights w̄ = w/Σw, column by column, at any scale.

    Raises:
        InputError: a column has no positive weight.
    """
    largest = columns.amax(dim=0) if len(columns) else columns.new_zeros(columns.shape[1])
    if not (largest > 0).all():
        raise InputError(f"the {side} weights are all zero or there are no {side} rows, expected a positive weight")
    scaled = columns / largest  # scale first: the sum of huge weights must not overflow
    return scaled / scaled.sum(dim=0)


def reliability_correction(
    weight: Float[Tensor, " k"], weight_square: Float[Tensor, " k"], side: str
) -> Float[Tensor, " k"]:
    """1 − Σ w̄² = 1 − 1/ESS from Σ w and Σ w²: what makes a weighted second-order statistic unbiased.

    Between 0 (one row has all the weight) and 1 − 1/n (uniform). Source: reliability weights, `numpy.cov(aweights)`.

    Raises:
        InputError: no weight, fewer than two rows that carry any, or sums out of float64's range.
    """
    check_total_weight(weight, side)
    if (weight_square < torch.finfo(torch.float64).tiny / torch.finfo(torch.float64).eps).any():
        raise InputError(f"the squares of the {side} weights underflow float64: divide the weights by their maximum")
    correction = 1 - weight_square / weight / weight
    if (correction < _SMALLEST_SPREAD).any():
        raise InputError(
            f"the {side} side has one row that carries all the weight, expected at least 2: "
            "add rows, or flatten or clip the weights"
        )
    return correction


def check_total_weight(weight: Float[Tensor, " k"], side: str) -> None:
    """Require that every weighting has a finite positive sum Σ w.

    Raises:
        InputError: a sum is zero, or out of float64's range.
    """
    if not torch.isfinite(weight).all():
        raise InputError(f"the sum of the {side} weights overflows float64: divide the weights by their maximum")
    if not (weight > 0).all():
        raise InputError(f"the {side} side has no weight, expected rows with positive weights: give it some")
    if (weight < torch.finfo(torch.float64).tiny).any():
        raise InputError(f"the {side} weights underflow float64: divide the weights by their maximum")
