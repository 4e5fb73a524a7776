"""Histograms of oriented gradients."""

import numpy as np
import pytest
import torch

from lfiw import InputError
from lfiw.features import build_extractor
from lfiw.features.hog import BINS, CELLS, histograms


def naive(image: np.ndarray) -> np.ndarray:
    """Pixel by pixel: central differences, edges repeated."""
    grey = image.mean(0)
    h, w = grey.shape
    found = np.zeros((BINS, CELLS, CELLS))
    for i in range(h):
        for j in range(w):
            across = grey[i, min(j + 1, w - 1)] - grey[i, max(j - 1, 0)]
            down = grey[min(i + 1, h - 1), j] - grey[max(i - 1, 0), j]
            turn = (np.arctan2(down, across) / (2 * np.pi) + 0.5) * BINS
            found[min(int(turn), BINS - 1), i * CELLS // h, j * CELLS // w] += np.hypot(across, down)
    return (found / (h // CELLS * (w // CELLS))).ravel()


def test_histograms_are_those_of_a_loop_over_pixels() -> None:
    images = torch.rand(3, 3, 16, 12, generator=torch.Generator().manual_seed(0))  # no angle lies between two bins
    expected = [naive(image.numpy().astype(np.float64)) for image in images]
    np.testing.assert_allclose(histograms(images), expected, atol=1e-5)


def test_an_edge_votes_for_its_direction() -> None:
    image = torch.zeros(1, 1, 8, 8)
    image[..., 4:] = 1.0  # brightness grows to the right: angle 0, in the fifth of eight bins
    votes = histograms(image).view(BINS, -1).sum(1)
    assert votes.argmax() == BINS // 2
    assert votes.sum() == votes[BINS // 2]


def test_the_extractor_says_what_it_needs() -> None:
    extractor = build_extractor("hog", (1, 28, 28))
    features = extractor(torch.zeros(5, 1, 28, 28, dtype=torch.uint8))["features"]
    assert features.shape == (5, extractor.num_features)
    assert extractor.columns == {"features": "features/hog"}
    with pytest.raises(InputError, match="expected images"):
        build_extractor("hog", (64,))
