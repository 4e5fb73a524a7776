"""Base of weighted metrics: checks of features and weights, and metrics from sums or from all rows."""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from lfiw.errors import InputError
from lfiw.tensors import check_tensor

# 1 − Σ w̄² is a difference of numbers near 1: below this it is mostly rounding, as if one row had all the weight.
_SMALLEST_SPREAD = 1e-12


def check_features(features: Tensor, num_features: int | None = None, name: str = "features") -> None:
    """Requires a finite floating-point matrix, one row per sample.

    Args:
        features: shape (n, d), any floating dtype; zero rows are allowed.
        num_features: the required d, if it is fixed.
        name: the tensor's name in messages.

    Raises:
        InputError: the dtype is not floating, the shape is not (n, d), or a value is NaN or infinite.
    """
    check_tensor(features, name)
    if not features.is_floating_point():
        raise InputError(f"{name} have dtype {features.dtype}, expected a floating dtype: convert with .float()")
    columns = "d" if num_features is None else num_features
    if features.ndim != 2 or (num_features is not None and features.shape[1] != num_features):
        raise InputError(f"{name} have shape {tuple(features.shape)}, expected (n, {columns}): one row per sample")
    # Summed in float64, so that finite half-precision values cannot overflow.
    if not torch.isfinite(features.detach().sum(dtype=torch.float64)):
        raise InputError(f"{name} contain NaN or infinite values, expected finite ones: drop or repair those rows")


def check_sides(real: Tensor, generated: Tensor) -> None:
    """Requires finite features with the same number of columns on both sides.

    Raises:
        InputError: as `check_features` and `check_same_width`.
    """
    check_features(real, name="real features")
    check_features(generated, name="generated features")
    check_same_width(real, generated)


def check_same_width(real: Tensor, generated: Tensor) -> None:
    """Requires the same number of columns on both sides.

    Raises:
        InputError: the numbers of columns differ.
    """
    if real.shape[1] != generated.shape[1]:
        raise InputError(
            f"real features have {real.shape[1]} columns and generated ones {generated.shape[1]}, "
            "expected as many: use one extractor for both"
        )


def weight_columns(
    weights: Tensor | None, rows: Float[Tensor, "n _"], num_weightings: int | None = None
) -> Float[Tensor, "n columns"]:
    """Returns checked weights as a float64 matrix on the device of the rows, one column per weighting.

    Args:
        weights: shape (n,) or (n, k), non-negative, any scale; None is 1 for each row.
        rows: those that are weighted.
        num_weightings: the required k of a matrix, if it is fixed.

    Returns:
        Shape (n, k) for weights of that shape, otherwise (n, 1).

    Raises:
        InputError: the dtype or shape is wrong, or a weight is negative, NaN or infinite.
    """
    num_rows = len(rows)
    if weights is None:
        return torch.ones(num_rows, 1, dtype=torch.float64, device=rows.device)
    check_tensor(weights, "weights")
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
    return columns.to(rows.device)


def with_weight(rows: Float[Tensor, "n d"], columns: Float[Tensor, "n k"]) -> tuple[Tensor, Tensor]:
    """Removes rows to which no column gives weight; they would change nothing."""
    positive = (columns > 0).any(dim=1)
    return (rows, columns) if positive.all() else (rows[positive], columns[positive])


def normalised_columns(columns: Float[Tensor, "n k"], side: str) -> Float[Tensor, "n k"]:
    """Self-normalises weights, w̄ = w/Σw, column by column, at any scale.

    Raises:
        InputError: a column has no positive weight.
    """
    largest = columns.amax(dim=0) if len(columns) else columns.new_zeros(columns.shape[1])
    if not (largest > 0).all():
        raise InputError(f"the {side} weights are all zero or there are no {side} rows, expected a positive weight")
    scaled = columns / largest  # scale first, since the sum of huge weights must not overflow
    return scaled / scaled.sum(dim=0)


def carried_by_one_row(weights: Float[Tensor, "n k"]) -> Bool[Tensor, " k"]:
    """Returns for which weightings one row has all of the weight, up to rounding: they have no second-order statistic.

    Raises:
        InputError: a column has no positive weight.
    """
    return 1 - normalised_columns(weights.double(), "sample").square().sum(dim=0) < _SMALLEST_SPREAD


def reliability_correction(
    weight: Float[Tensor, " k"], weight_square: Float[Tensor, " k"], side: str
) -> Float[Tensor, " k"]:
    """Computes 1 − Σ w̄² = 1 − 1/ESS from Σ w and Σ w²; dividing by it makes weighted second-order statistics unbiased.

    It lies between 0 (one row has all the weight) and 1 − 1/n (uniform). Source: reliability weights,
    `numpy.cov(aweights)`.

    Raises:
        InputError: there is no weight, fewer than two rows carry any, or sums are out of float64's range.
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
    """Requires that every weighting has a finite positive sum Σ w.

    Raises:
        InputError: a sum is zero, or out of float64's range.
    """
    if not torch.isfinite(weight).all():
        raise InputError(f"the sum of the {side} weights overflows float64: divide the weights by their maximum")
    if not (weight > 0).all():
        raise InputError(f"the {side} side has no weight, expected rows with positive weights: give it some")
    if (weight < torch.finfo(torch.float64).tiny).any():
        raise InputError(f"the {side} weights underflow float64: divide the weights by their maximum")


class WeightedMetric(Metric):
    """A `torchmetrics.Metric` that evaluates `num_weightings` weightings in one pass.

    States keep their dtype under `.to(dtype)`, `.half()` and `set_dtype`: sums of many rows need float64.

    Args:
        num_weightings: k, the number of weightings; `compute` returns k values, or a scalar for k = 1.
        metric_options: the options of `torchmetrics.Metric`.

    Raises:
        InputError: `num_weightings` is below 1.
    """

    is_differentiable = False
    full_state_update = False

    def __init__(self, num_weightings: int = 1, **metric_options: Any) -> None:
        super().__init__(**metric_options)
        if num_weightings < 1:
            raise InputError(f"num_weightings is {num_weightings}, expected at least 1")
        self.num_weightings = num_weightings

    def _per_weighting(self, values: Float[Tensor, " k"]) -> Float[Tensor, "*k"]:
        return values[0] if self.num_weightings == 1 else values

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> nn.Module:
        def move_but_keep_dtype(state: Tensor) -> Tensor:
            moved = fn(state)
            return moved if moved.dtype == state.dtype else state.to(moved.device)

        return super()._apply(move_but_keep_dtype, exclude_state)

    def _wrap_compute(self, compute: Callable) -> Callable:
        wrapped = super()._wrap_compute(compute)

        @functools.wraps(compute)
        def compute_without_warning(*args: Any, **kwargs: Any) -> Any:
            # A process may have no rows as long as another has some; if none has, `compute` raises.
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The ``compute`` method of metric", UserWarning)
                return wrapped(*args, **kwargs)

        return compute_without_warning


def agree_on_maximum(number: int, metric: Metric, gather: Callable, process_group: Any) -> int:
    """Returns the largest of the processes' numbers, by the function that also gathers the states."""
    local = torch.tensor(number, device=metric.device)
    return int(max(gathered.item() for gathered in gather(local, group=process_group or metric.process_group)))


SIDES = ("real", "generated")
MERGED_BYTES = 2**25  # larger blocks lie outside the heap, and copying them would take time


class TwoSidedMetric(WeightedMetric):
    """A weighted metric that compares real with generated rows of features.

    Args:
        num_features: d.
        num_weightings, metric_options: as for `WeightedMetric`.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(self, num_features: int, num_weightings: int = 1, **metric_options: Any) -> None:
        super().__init__(num_weightings, **metric_options)
        if num_features < 1:
            raise InputError(f"num_features is {num_features}, expected at least 1")
        self.num_features = num_features

    def update(
        self,
        features: Float[Tensor, "n d"],
        real: bool,
        weights: Float[Tensor, " n"] | Float[Tensor, "n k"] | None = None,
    ) -> None:
        """Adds a batch of rows to one side.

        Args:
            features: shape (n, num_features), any floating dtype; n may be 0.
            real: whether the rows are real or generated.
            weights: shape (n,), shared by all weightings, or (n, num_weightings); None is 1 for each row.

        Raises:
            InputError: a shape or dtype is wrong, a value is not finite, or a weight is negative.
        """
        check_features(features, self.num_features)
        self._add_rows("real" if real else "generated", features.detach(), weights)

    def _add_rows(self, side: str, rows: Float[Tensor, "n d"], weights: Tensor | None) -> None:
        raise NotImplementedError

    def forward(self, *args: Any, **kwargs: Any) -> None:
        """Does the same as `update`: a batch belongs to one side, so it has no value of its own."""
        self.update(*args, **kwargs)


class RowsMetric(TwoSidedMetric):
    """A two-sided metric that keeps all rows with weight that it has seen, in their dtype."""

    def __init__(self, num_features: int, num_weightings: int = 1, **metric_options: Any) -> None:
        super().__init__(num_features, num_weightings, **metric_options)
        for side in SIDES:
            self.add_state(f"{side}_features", [], dist_reduce_fx="cat")
            self.add_state(f"{side}_weights", [], dist_reduce_fx="cat")
            self.add_state(f"{side}_uniform_rows", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def _add_rows(self, side: str, rows: Float[Tensor, "n d"], weights: Tensor | None) -> None:
        if weights is None:
            setattr(self, f"{side}_uniform_rows", getattr(self, f"{side}_uniform_rows") + len(rows))
        columns = weight_columns(weights, rows, self.num_weightings).expand(-1, self.num_weightings)
        rows, columns = with_weight(rows, columns)
        # Copies, since the owner of a batch may reuse its buffer.
        append_block(getattr(self, f"{side}_features"), rows.clone())
        append_block(getattr(self, f"{side}_weights"), columns.clone())

    def _kept(self, side: str) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n k"]]:
        """Returns all rows of a side and their weights.

        Raises:
            InputError: there is none.
        """
        features = _concatenated(getattr(self, f"{side}_features"))
        weights = _concatenated(getattr(self, f"{side}_weights"))
        if features is None or weights is None or len(features) == 0:
            raise InputError(f"the {side} side has no rows that carry weight: call update with some")
        return features, weights

    def _sync_dist(self, dist_sync_fn: Callable = gather_all_tensors, process_group: Any = None) -> None:
        # All processes, even without rows, must gather tensors of the same dtype and number of dimensions.
        for side in SIDES:
            features = _concatenated(getattr(self, f"{side}_features"))
            weights = _concatenated(getattr(self, f"{side}_weights"))
            any_double = int(features is not None and features.dtype == torch.float64)
            any_double = agree_on_maximum(any_double, self, dist_sync_fn, process_group)
            if features is None or weights is None:
                features = torch.zeros(0, self.num_features, device=self.device)
                weights = torch.zeros(0, self.num_weightings, dtype=torch.float64, device=self.device)
            setattr(self, f"{side}_features", [features.to(torch.float64 if any_double else torch.float32)])
            setattr(self, f"{side}_weights", [weights])
        super()._sync_dist(dist_sync_fn, process_group)


def shared_column(weights: Float[Tensor, "n k"]) -> Float[Tensor, " n"] | Float[Tensor, "n k"]:
    """Returns the column that all weightings share, if they do, so that what depends on it is computed once."""
    return weights[:, 0] if (weights == weights[:, :1]).all() else weights


def checked_sides(
    real: Tensor,
    generated: Tensor,
    real_weights: Tensor | None,
    generated_weights: Tensor | None,
    block_size: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns checked features and weight columns of both sides, without rows that have no weight."""
    if block_size < 1:
        raise InputError(f"block_size is {block_size}, expected at least 1")
    checked: list[Tensor] = []
    for side, features, weights in (("real", real, real_weights), ("generated", generated, generated_weights)):
        check_features(features, name=f"{side} features")
        checked += with_weight(features, weight_columns(weights, features))
    real, v, generated, w = checked
    check_same_width(real, generated)
    if 1 not in (v.shape[1], w.shape[1]) and v.shape[1] != w.shape[1]:
        raise InputError(
            f"real weights have {v.shape[1]} columns and generated ones {w.shape[1]}, expected as many, or one"
        )
    return real, v, generated, w


def scalar_unless_columns(values: Float[Tensor, " k"], *weights: Float[Tensor, "..."] | None) -> Float[Tensor, "*k"]:
    return values if any(given is not None and given.ndim == 2 for given in weights) else values[0]


def append_block(blocks: list[Tensor], block: Tensor) -> None:
    """Adds rows to a list of blocks; small neighbours are joined, so that a list has few of them.

    Otherwise a few long-lived rows per batch between short-lived buffers would fragment the heap, by 2 KB per row of a
    pass.
    """
    blocks.append(block)
    while len(blocks) > 1 and len(blocks[-2]) <= len(blocks[-1]) and blocks[-2].nbytes < MERGED_BYTES:
        last = blocks.pop()
        blocks[-1] = torch.cat([blocks[-1], last])


def _concatenated(state: Tensor | list[Tensor]) -> Tensor | None:
    """Joins a list state into one tensor; None if it is empty. After a synchronisation it is a tensor already."""
    if isinstance(state, Tensor):
        return state
    return torch.cat(state) if state else None
