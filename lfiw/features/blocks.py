"""A network over blocks of a batch, on a CPU one thread a block."""

from collections.abc import Callable

import torch
from torch import Tensor

from lfiw.threads import in_threads


def over_blocks(work: Callable[[Tensor], Tensor], batch: Tensor, size: int) -> Tensor:
    """`work` of the batch, put together from blocks of `size` rows where it lies on a CPU.

    Small blocks stay in its caches.

    Args:
        work: rows → rows, each by itself; no gradients are kept.
    """
    if batch.device.type != "cpu":
        return work(batch)
    return torch.cat(in_threads(work, batch.split(size)))
