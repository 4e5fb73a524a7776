"""Rows drawn by weight: the weighted risk with loss weight 1, where weights in the loss would multiply its variance."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lfiw.data.batches import EpochBatches
from lfiw.errors import InputError
from lfiw.tensors import Vector, as_tensor
from lfiw.weighting.resampling import drawn_by_weight
from lfiw.weighting.weights import check_weights


class WeightedDraw:
    """Systematic draws of rows by weight: in N draws, row i occurs N·w̄ᵢ times in the mean and never more than one off.

    With strata, every stratum has the share of the draws that it has of the rows, to within one draw.

    Args:
        weights: of the rows, any scale; a row of weight zero is never drawn.
        strata: of each row, such as its class. If None, weights compare all rows.

    Raises:
        InputError: weights that are negative, not finite, or all zero (in one stratum, too); strata of other rows.
    """

    def __init__(self, weights: Vector, strata: Vector | None = None) -> None:
        weights, strata = as_tensor(weights, "weights"), None if strata is None else as_tensor(strata, "strata")
        check_weights(weights)
        self.weights = weights.double() if strata is None else weights_within(weights, strata)
        # along the cumulative weights, the rows of a stratum lie together
        self.order = torch.arange(len(weights)) if strata is None else strata.argsort(stable=True)

    def __len__(self) -> int:
        """Rows to draw from."""
        return len(self.weights)

    def rows(self, num_rows: int, generator: torch.Generator) -> Int64[Tensor, " num_rows"]:
        """Draws so many rows, in random order."""
        drawn = self.order[drawn_by_weight(self.weights[self.order], num_rows, generator)]
        return drawn[torch.randperm(num_rows, generator=generator)]


def weights_within(weights: Float[Tensor, " n"], strata: Int64[Tensor, " _"]) -> Float[Tensor, " n"]:
    """Scales weights to a mean of 1 in every stratum (float64).

    Raises:
        InputError: strata of other rows, or one whose weights are all zero.
    """
    if strata.shape != weights.shape:
        raise InputError(f"strata: {tuple(strata.shape)} for weights {tuple(weights.shape)}, expected one per row")
    names, place = strata.unique(return_inverse=True)
    rows = place.bincount(minlength=len(names))
    total = torch.zeros(len(names), dtype=torch.float64).index_add_(0, place, weights.double())
    if len(empty := names[total == 0]):
        raise InputError(f"weights: all are zero in stratum {int(empty[0])}: no row of it could be drawn")
    return weights.double() * (rows / total)[place]


class WeightedRows(EpochBatches[int]):
    """Row numbers drawn by weight, anew each epoch: `DataLoader(data, batch_size=64, sampler=WeightedRows(weights))`.

    A draw is a function of (seed, epoch), and Lightning or the training loop says which epoch by `set_epoch`. All
    processes make the same draw and each takes every world_size-th row of it. `start_at(n)` leaves out the first n rows
    of this process, for a training that is resumed.

    Args:
        weights, strata: as `WeightedDraw`.
        num_rows: draws per epoch over all processes. If None, as many as there are rows.
        seed: of all epochs.
        rank, world_size: which process this is, of how many.

    Raises:
        InputError: as `WeightedDraw`; or `num_rows` that the processes cannot share equally.
    """

    def __init__(
        self,
        weights: Vector,
        *,
        strata: Vector | None = None,
        num_rows: int | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.source = WeightedDraw(weights, strata)
        self.num_rows = len(weights) if num_rows is None else num_rows
        if self.num_rows < 1 or self.num_rows % world_size:
            raise InputError(f"num_rows={self.num_rows} must be a positive multiple of {world_size}, one per process")
        super().__init__(self.num_rows // world_size, seed)
        self.rank, self.world_size = rank, world_size

    def draw(self, generator: torch.Generator) -> Iterator[int]:
        return iter(self.source.rows(self.num_rows, generator)[self.rank :: self.world_size].tolist())
