"""What the weighted metrics share as torchmetrics classes: weightings, conventions, states that stay float64."""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics import Metric

from lfiw.errors import InputError

CONVENTIONS = ("standard", "paper")


class WeightedMetric(Metric):
    """A `torchmetrics.Metric` that evaluates `num_weightings` weightings in one pass.

    States keep their dtype under `.to(dtype)`, `.half()` and `set_dtype`: sums of many rows need float64.

    Args:
        num_weightings: k, the number of weightings; `compute` returns k values, or a scalar for k = 1.
        convention: "standard" (the scale of the weights is irrelevant) or "paper" (the un-normalised definitions of
            the official code of Grover et al. 2019: weights are used at the scale given).
        metric_options: the options of `torchmetrics.Metric`.

    Raises:
        InputError: `num_weightings` is below 1 or `convention` is unknown.
    """

    is_differentiable = False
    full_state_update = False

    def __init__(self, num_weightings: int, convention: str, **metric_options: Any) -> None:
        super().__init__(**metric_options)
        if num_weightings < 1:
            raise InputError(f"num_weightings is {num_weightings}, expected at least 1")
        if convention not in CONVENTIONS:
            raise InputError(f"convention is {convention!r}, expected one of {', '.join(CONVENTIONS)}")
        self.num_weightings = num_weightings
        self.convention = convention

    def _scale(self, weight: Float[Tensor, " k"], uniform_rows: Float[Tensor, ""], side: str) -> Float[Tensor, " k"]:
        """What the self-normalised weights are multiplied by: 1, or under "paper" the sum of the weights given.

        Args:
            weight: Σ w over the rows that came with weights.
            uniform_rows: the number of rows that came without.
            side: what the message calls these rows.

        Raises:
            InputError: convention "paper", and only some rows came with weights: their scale has no meaning then.
        """
        if self.convention == "standard" or not (weight > 0).any():
            return torch.ones_like(weight)
        if uniform_rows > 0:
            raise InputError(
                f"{int(uniform_rows)} {side} rows came without weights and others with, expected one or the other "
                "under convention='paper': pass weights with every batch"
            )
        return weight

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
            # A process without rows is no mistake as long as another has some; if none has, `compute` raises.
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The ``compute`` method of metric", UserWarning)
                return wrapped(*args, **kwargs)

        return compute_without_warning


def agree_on_maximum(number: int, metric: Metric, gather: Callable, process_group: Any) -> int:
    """The largest of the numbers that the processes hold, by the gather function that also gathers the states."""
    local = torch.tensor(number, device=metric.device)
    return int(max(gathered.item() for gathered in gather(local, group=process_group or metric.process_group)))
