"""Axes and value ranges of images."""

import numpy as np
import pytest
import torch

from lfiw import InputError
from lfiw.data.importers.pixels import Pixels, find_axes, find_range


@pytest.mark.parametrize(
    ("shape", "layout", "axes"),
    [
        ((10, 3, 32, 32), None, (0, 1, 2, 3)),
        ((10, 32, 32, 3), None, (0, 3, 1, 2)),
        ((10, 1, 28, 28), None, (0, 1, 2, 3)),
        ((10, 28, 28, 1), None, (0, 3, 1, 2)),
        ((10, 28, 28), None, None),
        ((10, 3, 5, 3), "nchw", (0, 1, 2, 3)),
        ((10, 3, 5, 3), "nhwc", (0, 3, 1, 2)),
    ],
)
def test_layouts(shape, layout, axes):
    found, line = find_axes(shape, layout)
    assert found == axes
    assert str(shape) in line


@pytest.mark.parametrize(
    ("shape", "layout", "message"),
    [
        ((10, 3, 5, 3), None, "both the second and the last axis can be channels .*--layout"),
        ((10, 8, 8, 8), None, "neither the second nor the last axis can be channels .*--layout"),
        ((10, 3, 32, 32), "nhwc", "is not NHWC: it would have 32 channels"),
        ((10, 28, 28), "nchw", "leave out --layout"),
    ],
)
def test_layouts_that_do_not_fit(shape, layout, message):
    with pytest.raises(InputError, match=message):
        find_axes(shape, layout)


def ranges(values, name=None, dtype=np.float32):
    values = np.array(values).astype(dtype)
    return find_range(iter([values[:1], values[1:]] if len(values) > 1 else [values]), values.dtype, name)


@pytest.mark.parametrize(
    ("values", "name", "dtype", "expected"),
    [
        ([0, 1], None, np.float32, (0, 1)),
        ([0.2, 0.4], None, np.float64, (0, 1)),
        ([-1, 1], None, np.float16, (-1, 1)),
        ([-0.1, 0.4], None, np.float32, (-1, 1)),
        ([0.2, 0.4], "signed", np.float32, (-1, 1)),
        ([0, 255], "byte", np.float32, (0, 255)),
        ([0, 255], None, np.int64, (0, 255)),
        ([0, 1 + 1e-6], None, np.float32, (0, 1)),
        ([0, 3], None, np.uint8, (0, 255)),
    ],
)
def test_ranges(values, name, dtype, expected):
    low, high, line = ranges(values, name, dtype)
    assert (low, high) == expected
    assert "uint8" in line


@pytest.mark.parametrize(
    ("values", "name", "dtype", "message"),
    [
        ([0, 255], None, np.float32, r"go from 0 to 255, outside \[-?[01], 1\]: give --range"),
        ([-2, 0], None, np.float32, r"go from -2 to 0, outside \[-1, 1\]"),
        ([-1, 1], "unit", np.float32, r"outside \[0, 1\]"),
        ([-1, 1], None, np.int32, r"outside \[0, 255\]"),
        ([0, 1, np.nan], None, np.float32, "row 2 holds NaN or infinity"),
        ([0, np.inf], None, np.float32, "row 1 holds NaN or infinity"),
        ([0, 1], "unit", np.uint8, "bytes .* leave out --range unit"),
        ([0, 1], None, bool, "expected uint8, integers or floats"),
        ([0, 1], None, np.complex64, "expected uint8, integers or floats"),
    ],
)
def test_ranges_that_do_not_fit(values, name, dtype, message):
    with pytest.raises(InputError, match=message):
        ranges(values, name, dtype)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (0, 255)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bytes_come_back_and_others_go_to_the_nearest(low, high, dtype):
    step = (high - low) / 255
    every = np.arange(256)
    images = torch.stack(
        [
            Pixels(None, low, high)
            .read((low + (every + shift) * step).astype(dtype).reshape(1, 16, 16))[0, 0]
            .flatten()
            for shift in (0, 0.49, -0.49)
        ]
    )
    assert torch.equal(images, torch.arange(256, dtype=torch.uint8).expand(3, 256))


def test_half_precision_and_clamping():
    assert Pixels(None, 0, 1).read(np.full((1, 2, 2), 0.5, np.float16)).unique().tolist() == [128]
    assert Pixels(None, 0, 1).read(np.array([[[-1e-6, 1 + 1e-6]]])).tolist() == [[[[0, 255]]]]


def test_axes_are_moved():
    block = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    read = Pixels((0, 3, 1, 2), 0, 255).read(block)
    assert read.is_contiguous()
    np.testing.assert_array_equal(read.numpy(), block.transpose(0, 3, 1, 2))
