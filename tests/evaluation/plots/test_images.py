"""Grids of images, pixel by pixel."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lfiw.evaluation.plots import contact_sheet, image_grid, save

GENERATOR = torch.Generator().manual_seed(0)


def images(n: int, c: int, side: int) -> torch.Tensor:
    return torch.randint(256, (n, c, side, side), generator=GENERATOR).to(torch.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_small_images_are_shown_as_they_are(channels: int) -> None:
    given = images(70, channels, 8)
    grid = image_grid(given)
    assert grid.shape == (8 * 9 + 1, 8 * 9 + 1, 3)
    for i in range(64):
        top, left = 1 + 9 * (i // 8), 1 + 9 * (i % 8)
        expected = given[i].expand(3, 8, 8).permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(grid[top : top + 8, left : left + 8], expected)
    assert (grid[0] == 255).all()
    assert (grid[:, 9] == 255).all()


def test_large_images_are_reduced() -> None:
    given = images(50, 3, 96)
    grid = image_grid(given)
    assert grid.shape == (6 * 49 + 1, 6 * 49 + 1, 3)
    expected = F.avg_pool2d(given[:1].float(), 2)[0].permute(1, 2, 0).numpy()
    # antialiased interpolation to half the size weighs four neighbours on a side, not two: alike on average only
    assert grid[1:49, 1:49].mean() == pytest.approx(expected.mean(), rel=0.01)
    assert grid[1:49, 1:49].std() < given[0].float().std().item()


def test_floats_and_other_channels() -> None:
    given = images(4, 2, 8).float() / 255
    grid = image_grid(given)
    expected = (255 * given[0].mean(0)).round().numpy()
    np.testing.assert_allclose(grid[1:9, 1:9, 0], expected, atol=1)  # rounding of halves
    assert (grid[..., 0] == grid[..., 1]).all()


def test_a_sheet(tmp_path: Path) -> None:
    groups = {"low": images(99, 1, 8), "high": images(3, 1, 8), "real": images(64, 1, 8), "more": images(1, 1, 8)}
    figure = contact_sheet(groups)
    assert [axes.get_title() for axes in figure.axes] == ["low", "high", "real", "more", "", ""]
    assert [len(axes.images) for axes in figure.axes] == [1, 1, 1, 1, 0, 0]
    assert save(figure, tmp_path / "sheet.png").stat().st_size > 10_000
