"""Nearest rows against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from lfiw.evaluation.samples import nearest_rows


@pytest.mark.parametrize("block", [1, 7, 300, 1000])
def test_against_scikit_learn(block: int) -> None:
    rng = np.random.default_rng(0)
    rows, queries = rng.normal(size=(300, 5)).astype(np.float32), rng.normal(size=(20, 5)).astype(np.float32)
    index, distance = nearest_rows(torch.from_numpy(queries), torch.from_numpy(rows).split(block))
    found = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(rows.astype(float)).kneighbors(queries.astype(float))
    np.testing.assert_array_equal(index.numpy(), found[1][:, 0])
    np.testing.assert_allclose(distance.numpy(), found[0][:, 0], rtol=1e-7)


def test_small_differences_of_large_features() -> None:
    """1e4 and a millionth of it apart: the expansion |x|² − 2xy + |y|² in float32 would not tell them apart."""
    rows = 1e4 + torch.tensor([[0.02], [0.01], [0.03]], dtype=torch.float64)
    index, distance = nearest_rows(torch.tensor([[1e4]], dtype=torch.float64), [rows[:1], rows[1:]])
    assert index.tolist() == [1]
    assert distance.item() == pytest.approx(0.01, rel=1e-6)


def test_the_first_of_ties() -> None:
    index, _ = nearest_rows(torch.zeros(1, 2), [torch.ones(3, 2), torch.ones(3, 2)])
    assert index.tolist() == [0]
