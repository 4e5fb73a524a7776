"""Passes through subsets in order, as `trainer.predict` and `trainer.test` see them."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lfiw.data import TensorTable
from lfiw.data.splits import InOrderDataModule, Subset, everything

A = TensorTable({"x": torch.arange(11), "y": torch.arange(11) * 10})
B = TensorTable({"x": torch.arange(100, 107), "y": torch.arange(7)})
SUBSET = Subset(A, torch.tensor([1, 4, 9]))


def loaders(rank: int = 0, world_size: int = 1, num_workers: int = 0) -> tuple[list[Any], Any]:
    data = InOrderDataModule(
        lambda: [[SUBSET, everything(B)], [everything(A)]], ["x"], batch_size=4, num_workers=num_workers
    )
    data.trainer = SimpleNamespace(global_rank=rank, world_size=world_size)  # type: ignore[assignment]
    return data.predict_dataloader(), data.test_dataloader()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_pass_takes_its_subsets_one_after_another(num_workers: int) -> None:
    (first, second), test = loaders(num_workers=num_workers)
    for loader in (first, test):
        batches = list(loader)
        assert [len(b["x"]) for b in batches] == [4, 4, 2]
        assert all(sorted(b) == ["position", "side", "x"] for b in batches)
        joined = {name: torch.cat([b[name] for b in batches]).tolist() for name in batches[0]}
        assert joined == {
            "x": [1, 4, 9, *range(100, 107)],
            "side": [0] * 3 + [1] * 7,
            "position": [0, 1, 2, *range(7)],
        }
    assert torch.cat([b["x"] for b in second]).tolist() == list(range(11))


@pytest.mark.parametrize("world_size", [2, 3, 4, 16])
def test_processes_share_the_rows(world_size: int) -> None:
    of_ranks = [[list(loader) for loader in loaders(rank, world_size)[0]] for rank in range(world_size)]
    for i, expected in enumerate(([1, 4, 9, *range(100, 107)], list(range(11)))):
        assert len({len(passes[i]) for passes in of_ranks}) == 1
        assert [x for passes in of_ranks for b in passes[i] for x in b["x"].tolist()] == expected
