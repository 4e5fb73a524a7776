"""Parts of a table's rows."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lfiw import InputError
from lfiw.data import TensorTable
from lfiw.data.splits import Subset, evenly_spaced, everything, split_rows


@given(st.integers(60, 500), st.lists(st.floats(0.06, 1), min_size=1, max_size=4), st.integers(0, 2**40))
def test_parts_are_disjoint_ascending_and_of_their_share(num_rows: int, shares: list[float], seed: int) -> None:
    fractions = {f"part{i}": share / sum(shares) for i, share in enumerate(shares)}
    parts = split_rows(num_rows, fractions, seed)
    assert list(parts) == list(fractions)
    rows = torch.cat(list(parts.values()))
    assert sorted(rows.tolist()) == list(range(num_rows))  # the shares sum to 1: every row, once
    for name, part in parts.items():
        assert part.tolist() == sorted(part.tolist())
        assert abs(len(part) - fractions[name] * num_rows) <= 1  # both ends are rounded


def test_a_sum_below_one_leaves_rows_out() -> None:
    parts = split_rows(100, {"a": 0.1, "b": 0.25, "none": 0.0}, seed=0)
    assert [len(part) for part in parts.values()] == [10, 25, 0]
    assert not set(parts["a"].tolist()) & set(parts["b"].tolist())


def test_a_function_of_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = split_rows(50, {"a": 0.5}, seed=3)["a"]
    torch.manual_seed(2)
    assert torch.equal(split_rows(50, {"a": 0.5}, seed=3)["a"], first)
    assert not torch.equal(split_rows(50, {"a": 0.5}, seed=4)["a"], first)


def test_every_row_is_as_likely_in_a_part() -> None:
    counts = torch.zeros(10)
    for seed in range(2000):
        counts[split_rows(10, {"a": 0.3}, seed)["a"]] += 1
    # binomial(2000, 0.3): standard deviation 20.5; five of them for ten counts
    assert ((counts - 600).abs() < 103).all()


@pytest.mark.parametrize(
    "fractions", [{"a": -0.1}, {"a": 1.1}, {"a": 0.6, "b": 0.6}, {"a": float("nan")}, {"a": float("inf")}]
)
def test_shares_out_of_range(fractions: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"must each lie in \[0, 1\] and sum to at most 1"):
        split_rows(100, fractions, seed=0)


def test_a_share_that_comes_to_no_row() -> None:
    with pytest.raises(InputError, match=r"the small split has no row: 0.01 of 10 rows"):
        split_rows(10, {"a": 0.5, "small": 0.01}, seed=0)


def test_a_subset_reads_its_rows() -> None:
    table = TensorTable({"x": torch.arange(10) * 10, "y": torch.arange(10)})
    subset = Subset(table, torch.tensor([2, 5, 7]))
    assert len(subset) == 3
    assert subset.column("x").tolist() == [20, 50, 70]
    read = subset.read(torch.tensor([2, 0, 2]), ["y"])
    assert list(read) == ["y"]
    assert read["y"].tolist() == [7, 2, 7]
    assert torch.equal(everything(table).column("x"), table["x"])


@pytest.mark.parametrize(("num_rows", "most", "left"), [(10, 4, 4), (10, 9, 9), (10, 10, 10), (10, 0, 10), (3, 7, 3)])
def test_evenly_spaced(num_rows: int, most: int, left: int) -> None:
    mask = evenly_spaced(num_rows, most)
    assert mask.shape == (num_rows,)
    assert mask.sum() == left
    gaps = mask.nonzero().flatten().diff()
    assert gaps.max() - gaps.min() <= 1
