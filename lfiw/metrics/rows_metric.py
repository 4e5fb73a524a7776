"""What the weighted metrics share that need all rows at once: they keep the features, of both sides."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from lfiw.errors import InputError
from lfiw.metrics.validation import check_features, check_same_width, weight_columns
from lfiw.metrics.weighted_metric import WeightedMetric, agree_on_maximum

SIDES = ("real", "generated")
MERGED_BYTES = 2**25  # blocks of this size lie outside of the heap, and copying them would take time


class RowsMetric(WeightedMetric):
    """A weighted metric that keeps the rows it has seen, in the dtype given, without those of weight zero.

    Args:
        num_features: d.
        num_weightings, convention, metric_options: as for `WeightedMetric`.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(self, num_features: int, num_weightings: int, convention: str, **metric_options: Any) -> None:
        super().__init__(num_weightings, convention, **metric_options)
        if num_features < 1:
            raise InputError(f"num_features is {num_features}, expected at least 1")
        self.num_features = num_features
        for side in SIDES:
            self.add_state(f"{side}_features", [], dist_reduce_fx="cat")
            self.add_state(f"{side}_weights", [], dist_reduce_fx="cat")
            self.add_state(f"{side}_uniform_rows", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def forward(self, *args: Any, **kwargs: Any) -> None:
        """Same as `update`: one batch fills one side, so there is no value of the batch."""
        self.update(*args, **kwargs)

    def _keep(self, features: Tensor, real: bool, weights: Tensor | None) -> None:
        """Add a batch of rows to one side.

        Raises:
            InputError: a shape or dtype is wrong, a value is not finite, or a weight is negative.
        """
        check_features(features, self.num_features)
        side = "real" if real else "generated"
        rows = features.detach()
        if weights is None:
            columns = torch.ones(len(rows), self.num_weightings, dtype=torch.float64, device=rows.device)
            uniform_rows = getattr(self, f"{side}_uniform_rows")
            setattr(self, f"{side}_uniform_rows", uniform_rows + len(rows))
        else:
            columns = weight_columns(weights, len(rows), self.num_weightings).to(rows.device)
            columns = columns.expand(-1, self.num_weightings)
            positive = (columns > 0).any(dim=1)
            rows, columns = rows[positive], columns[positive]
        # Copies: a batch buffer that its owner fills again must not change what was seen.
        append_block(getattr(self, f"{side}_features"), rows.clone())
        append_block(getattr(self, f"{side}_weights"), columns.clone())

    def _kept(self, side: str) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n k"]]:
        """All rows of a side, and their weights.

        Raises:
            InputError: there is none.
        """
        features = _concatenated(getattr(self, f"{side}_features"))
        weights = _concatenated(getattr(self, f"{side}_weights"))
        if features is None or weights is None or len(features) == 0:
            raise InputError(f"the {side} side has no rows that carry weight: call update with some")
        return features, weights

    def _sync_dist(self, dist_sync_fn: Callable = gather_all_tensors, process_group: Any = None) -> None:
        # Processes must gather tensors of one dtype and as many dimensions, also those that saw no rows.
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
    """The one column that all weightings share, if they do: what depends on it alone is then made once."""
    return weights[:, 0] if (weights == weights[:, :1]).all() else weights


def checked_sides(
    real: Tensor,
    generated: Tensor,
    real_weights: Tensor | None,
    generated_weights: Tensor | None,
    block_size: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features and weight columns of both sides, checked, without the rows that have no weight."""
    if block_size < 1:
        raise InputError(f"block_size is {block_size}, expected at least 1")
    checked: list[Tensor] = []
    for side, features, weights in (("real", real, real_weights), ("generated", generated, generated_weights)):
        check_features(features, name=f"{side} features")
        if weights is None:
            columns = torch.ones(len(features), 1, dtype=torch.float64, device=features.device)
        else:
            columns = weight_columns(weights, len(features)).to(features.device)
        positive = (columns > 0).any(dim=1)
        checked += [features, columns] if positive.all() else [features[positive], columns[positive]]
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
    """Add rows to a list of blocks; small neighbours become one, so that a list has few of them.

    A few rows of each batch, kept for long between buffers that come and go, would leave the heap full of holes: 2 KB a
    row of a pass, against nothing.
    """
    blocks.append(block)
    while len(blocks) > 1 and len(blocks[-2]) <= len(blocks[-1]) and blocks[-2].nbytes < MERGED_BYTES:
        last = blocks.pop()
        blocks[-1] = torch.cat([blocks[-1], last])


def _concatenated(state: Tensor | list[Tensor]) -> Tensor | None:
    """A list state as one tensor; None if it is empty. After a synchronisation it is a tensor already."""
    if isinstance(state, Tensor):
        return state
    return torch.cat(state) if state else None
