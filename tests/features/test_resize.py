"""The resize equals torch-fidelity's to the last bit."""

import pytest
import torch
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from lfiw.features.extractor import resize_like_tensorflow


@pytest.mark.parametrize("shape", [(32, 32), (299, 299), (512, 300), (1, 1), (28, 57), (299, 7)])
def test_equals_torch_fidelity(shape: tuple[int, int]) -> None:
    images = torch.randint(0, 256, (3, 3, *shape), generator=torch.Generator().manual_seed(0)).float()
    expected = interpolate_bilinear_2d_like_tensorflow1x(images, size=(299, 299), align_corners=False)
    assert torch.equal(resize_like_tensorflow(images, 299), expected)


def test_a_closed_form() -> None:
    """From 2 to 4 pixels: i·2/4 = 0, ½, 1, 1½, and beyond the last pixel it stays."""
    images = torch.tensor([[0.0, 2.0], [4.0, 6.0]]).view(1, 1, 2, 2)
    rows = torch.tensor([0.0, 2.0, 4.0, 4.0])
    columns = torch.tensor([0.0, 1.0, 2.0, 2.0])
    torch.testing.assert_close(resize_like_tensorflow(images, 4)[0, 0], rows[:, None] + columns)
