"""Work on a CPU in blocks, one of torch's threads each."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """`work` of each item, without gradients, as many at once as torch has threads.

    Threads that each do their own work wait for one another once, not in every operation, which matters most where
    other processes want the cores too. What is found does not depend on the number of threads.
    """

    def alone(item: Item) -> Result:
        with torch.inference_mode():  # a state of each thread
            return work(item)

    threads = min(torch.get_num_threads(), len(items))
    if threads <= 1:
        return [alone(item) for item in items]
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(alone, items))
    finally:
        torch.set_num_threads(before)  # of threads to come; this one's number did not change
