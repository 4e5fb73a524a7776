"""Pictures: PNG files with something on them."""

import itertools
from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch

from lfiw import figures
from lfiw.calibration import reliability
from lfiw.data import TensorTable

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(500, dtype=torch.float64, generator=GENERATOR)
P = torch.sigmoid(X)
IS_REAL = torch.rand(500, dtype=torch.float64, generator=GENERATOR) < P


def images(n: int, c: int = 1, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    pixels = torch.randint(256, (n, c, 8, 8), generator=GENERATOR)
    return pixels.to(dtype) if dtype == torch.uint8 else pixels.to(dtype) / 255


def toy(file: Path) -> Path:
    groups = {(case, n): [(P, P.square()), (P, P.sqrt())] for case in ("1d", "2d") for n in (50, 100)}
    narrow = torch.full((500,), 0.3, dtype=torch.float64)  # most bins have nothing in them
    return figures.toy_probabilities({**groups, ("1d", 50): [(narrow, P)]}, file)


CURVES = {name: reliability(P.logit() / t, IS_REAL) for name, t in (("as trained", 1), ("beta", 2))}
DRAWINGS = TensorTable({"image": images(60), "label": torch.arange(60) % 5})
PICTURES: dict[str, Callable[[Path], Path]] = {
    "weights": lambda file: figures.weight_histogram(X, 400.0, 0.3, file),
    "uniform weights": lambda file: figures.weight_histogram(X * 0, 500.0, float("nan"), file),
    "one weight": lambda file: figures.weight_histogram(X[:1], 1.0, float("nan"), file),
    "extreme weights": lambda file: figures.weight_histogram(X * 1e4, 1.0, 9.0, file),
    "sheet": lambda file: figures.contact_sheet([("low", images(99)), ("high", images(3)), ("real", images(64))], file),
    "colour sheet": lambda file: figures.contact_sheet([("one", images(9, 3, torch.float32))], file),
    "two channels": lambda file: figures.contact_sheet([("one", images(9, 2)), ("other", images(9, 2))], file),
    "classes": lambda file: figures.class_proportions([("a", [0.2, 0.8]), ("b", [0.4, 0.6])], [0.5, 0.5], file),
    "reliability": lambda file: figures.reliability(CURVES, file),
    "certain": lambda file: figures.reliability({"as trained": reliability(X.sign() * 40.0, IS_REAL)}, file),
    "ranked": lambda file: figures.ranked_drawings(DRAWINGS, DRAWINGS, X[:60], file, classes=5),
    "regimes": lambda file: figures.regime_accuracies({"real": [0.5, 0.6], "both": [0.7, 0.6]}, file),
    "one seed": lambda file: figures.regime_accuracies({"real": [0.5], "both": [0.7]}, file),
    "toy": toy,
}  # fmt: skip


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture(name: str, tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    assert PICTURES[name](file) == file
    assert file.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    pixels = matplotlib.image.imread(file)
    assert min(pixels.shape[:2]) > 300
    assert pixels[..., :3].std() > 0.03  # ink on white
    assert len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)) > 20
    assert list(tmp_path.iterdir()) == [file]


def test_binned_means_against_a_loop() -> None:
    edges = torch.linspace(0, 1, 21, dtype=torch.float64)
    x, y = P[P < 0.9], X[P < 0.9]
    found = figures.binned_means(x, y, edges)
    expected = [
        y[(x > a) & (x <= b)].mean().item() if ((x > a) & (x <= b)).any() else np.nan
        for a, b in itertools.pairwise(edges)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert np.isnan(found[-1])
