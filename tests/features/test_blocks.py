"""Blocks of a batch in threads."""

import threading

import pytest
import torch

from lfiw.features.extractor import over_blocks


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("n", [1, 4, 10])
def test_blocks_come_back_in_order(threads: int, n: int) -> None:
    batch = torch.arange(n * 3.0).view(n, 3)
    assert torch.equal(over_blocks(lambda rows: 2 * rows, batch, 4), 2 * batch)
    assert torch.get_num_threads() == threads


def test_each_thread_works_alone(threads: int) -> None:
    seen: set[tuple[str, int]] = set()
    together = threading.Barrier(threads, timeout=30)

    def work(rows: torch.Tensor) -> torch.Tensor:
        together.wait()  # passes only if that many blocks are worked on at once
        seen.add((threading.current_thread().name, torch.get_num_threads()))
        return rows

    over_blocks(work, torch.zeros(2 * threads, 1), 2)
    assert len(seen) == threads
    assert {number for _, number in seen} == {1}


def test_an_error_comes_through_and_threads_are_kept(threads: int) -> None:
    def work(rows: torch.Tensor) -> torch.Tensor:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        over_blocks(work, torch.zeros(10, 1), 2)
    assert torch.get_num_threads() == threads


def test_threads_of_later_pools_are_as_before(threads: int) -> None:
    over_blocks(lambda rows: rows, torch.zeros(10, 1), 2)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert found == [threads]
