"""A network over blocks of a batch, on a CPU one thread a block."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor


def over_blocks(work: Callable[[Tensor], Tensor], batch: Tensor, size: int) -> Tensor:
    """`work` of the batch, put together from blocks of `size` rows where it lies on a CPU.

    Small blocks stay in the caches. Each of torch's threads works on blocks of its own: they wait for one another once
    a batch instead of in every layer, which matters most where other processes want the cores too. The result does not
    depend on the number of threads.

    Args:
        work: rows → rows, each by itself; no gradients are kept.
    """
    if batch.device.type != "cpu":
        return work(batch)
    blocks, threads = batch.split(size), torch.get_num_threads()
    if threads == 1 or len(blocks) == 1:
        return torch.cat([work(block) for block in blocks])

    def without_gradients(block: Tensor) -> Tensor:
        with torch.inference_mode():  # a state of each thread
            return work(block)

    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return torch.cat(list(pool.map(without_gradients, blocks)))
    finally:
        torch.set_num_threads(threads)  # of threads to come; this one's number did not change
