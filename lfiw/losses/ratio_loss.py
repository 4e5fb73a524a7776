"""What every loss for density ratios offers."""

from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor


@runtime_checkable
class RatioLoss(Protocol):
    """A loss whose minimiser is a known function of p_data/p_model.

    `uses_prior_odds`: the minimiser is the odds of the rows that it sees, so that the log-ratio is log γ away from it;
    the other losses are means over each side of a batch and see no prior odds. Balanced mixing makes the two the same.
    Under natural mixing a side's mean falls with the share of batches that have none of its rows (1 in 10⁴ where 9 are
    expected): give rare sides larger batches.
    """

    uses_prior_odds: bool

    def __call__(self, outputs: Float[Tensor, " n"], is_real: Bool[Tensor, " n"]) -> Float[Tensor, ""]:
        """The loss of a batch with rows of both sides."""
        ...

    def log_ratio(self, outputs: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """log p_data/p_model, up to the prior odds where the loss uses them, from the network's outputs."""
        ...


def side_mean(values: Float[Tensor, " n"], rows: Bool[Tensor, " n"]) -> Float[Tensor, ""]:
    """Mean over some rows of a batch; 0 where it has none of them, as the last batch of a side may."""
    return (values * rows).sum() / rows.sum().clamp(min=1)
