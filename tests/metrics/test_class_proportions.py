"""Weighted shares of classes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lfiw import InputError
from lfiw.metrics.class_proportions import ClassProportions

C = 5


@given(
    arrays(np.int64, st.integers(1, 40), elements=st.integers(0, C - 1)),
    st.integers(1, 3),
    st.integers(1, 4),
    st.floats(1e-3, 1e3),
)
def test_against_numpy(classes: np.ndarray, k: int, batches: int, scale: float) -> None:
    weights = np.random.default_rng(0).random((len(classes), k)) + 1e-3
    metric = ClassProportions(C, k)
    parts = zip(np.array_split(classes, batches), np.array_split(weights, batches), strict=True)
    for some, their in parts:
        metric.update(torch.from_numpy(some), torch.from_numpy(their * scale))
    got = metric.compute()
    assert got.dtype == torch.float64
    expected = [np.bincount(classes, weights=w, minlength=C) / w.sum() for w in weights.T]
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-15)


def test_without_weights_and_weights_of_zero() -> None:
    metric = ClassProportions(3)
    metric.update(torch.tensor([0, 0, 2]))
    metric.update(torch.tensor([1]), torch.zeros(1, 1))
    metric.update(torch.empty(0, dtype=torch.int64))
    np.testing.assert_allclose(metric.compute(), [[2 / 3, 0, 1 / 3]])
    metric.reset()
    metric.update(torch.tensor([1]))
    assert metric.compute().tolist() == [[0, 1, 0]]


@pytest.mark.parametrize("wrong", [-1, 3])
def test_a_class_that_does_not_exist(wrong: int) -> None:
    with pytest.raises(InputError, match=rf"classes {wrong} … {wrong} must lie in 0 … 2"):
        ClassProportions(3).update(torch.tensor([wrong]))
