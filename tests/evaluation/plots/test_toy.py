"""The curve of learned against known probabilities."""

import itertools

import numpy as np
import torch

from lfiw.tasks.toy import binned_means

X = torch.randn(500, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
P = torch.sigmoid(X)


def test_binned_means_against_a_loop() -> None:
    edges = torch.linspace(0, 1, 21, dtype=torch.float64)
    x, y = P[P < 0.9], X[P < 0.9]
    found = binned_means(x, y, edges)
    expected = [
        y[(x > a) & (x <= b)].mean().item() if ((x > a) & (x <= b)).any() else np.nan
        for a, b in itertools.pairwise(edges)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert np.isnan(found[-1])
