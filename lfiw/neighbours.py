"""Nearest neighbours in blocks of rows."""

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def nearest_rows(
    queries: Float[Tensor, "q d"], blocks: Iterable[Float[Tensor, "_ d"]]
) -> tuple[Int64[Tensor, " q"], Float[Tensor, " q"]]:
    """For each query the row at the smallest Euclidean distance, and that distance, in float64; the first one of ties.

    Args:
        blocks: the rows, some at a time and at least one, so that all of them need not be in memory; rows are counted
            through all blocks.
    """
    wanted = queries.double()
    best = torch.full((len(queries),), torch.inf, dtype=torch.float64)
    index = torch.zeros(len(queries), dtype=torch.int64)
    start = 0
    for block in blocks:
        # not by the products' expansion: it loses the digits of small distances
        distances = torch.cdist(wanted, block.double(), compute_mode="donot_use_mm_for_euclid_dist")
        smallest, at = distances.min(dim=1)
        nearer = smallest < best
        best = torch.where(nearer, smallest, best)
        index = torch.where(nearer, at + start, index)
        start += len(block)
    return index, best
