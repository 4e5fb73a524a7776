"""Axes and value ranges of images."""

import numpy as np
import pytest
import torch

from lfiw import InputError
from lfiw.data.importers.pixels import RANGES, Pixels, find_axes, find_range


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
        ((10, 28, 3), "nhw", None),
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
        ((10, 8, 8, 8), None, "neither the second nor the last axis can be channels .*: save "),
        ((10, 3, 32, 32), "nhwc", "is not NHWC: it would have 32 channels"),
        ((10, 28, 28), "nchw", "leave out --layout"),
        ((8, 8, 3), None, r"one image with 3 channels, or 8 of one channel\? .*array\[None\].*--layout nhw"),
        ((32, 32, 3, 10), None, "give --layout hwcn"),
        ((10, 3, 5, 3), "nhw", "it has four axes"),
    ],
)
def test_layouts_that_do_not_fit(shape, layout, message):
    with pytest.raises(InputError, match=message):
        find_axes(shape, layout)


def ranges(values, name=None, dtype=np.float32):
    values = np.array(values).astype(dtype)
    return find_range(values, name)


@pytest.mark.parametrize(
    ("values", "name", "dtype", "expected"),
    [
        ([0, 1], None, np.float32, (0, 1)),
        ([0.2, 0.4], None, np.float64, (0, 1)),
        ([-1, 1], None, np.float16, (-1, 1)),
        ([-0.6, 0.4], None, np.float32, (-1, 1)),
        ([-0.02, 0.98], None, np.float32, (0, 1)),
        ([0, 1.05], None, np.float64, (0, 1)),
        ([-1.1, 1], None, np.float32, (-1, 1)),
        ([-0.02, 0.03], "unit", np.float32, (0, 1)),
        ([0, 1], "unit", np.uint8, (0, 1)),
        ([0, 1], "byte", np.uint8, (0, 255)),
        ([0, 1], "unit", np.int64, (0, 1)),
        ([-1, 1], "signed", np.int8, (-1, 1)),
        ([0, 1], None, np.longdouble, (0, 1)),
        ([0.2, 0.4], "signed", np.float32, (-1, 1)),
        ([0, 255], "byte", np.float32, (0, 255)),
        ([0, 255], None, np.int64, (0, 255)),
        ([0, 1 + 1e-6], None, np.float32, (0, 1)),
        ([0, 3], None, np.uint8, (0, 255)),
    ],
)
def test_ranges(values, name, dtype, expected):
    found = ranges(values, name, dtype)
    assert RANGES[found.name] == expected
    assert "uint8" in found.note


@pytest.mark.parametrize(
    ("values", "name", "dtype", "message"),
    [
        ([0, 255], None, np.float32, r"go from 0 to 255, outside \[-?[01], 1\]: give --range"),
        ([-2, 0], None, np.float32, r"go from -2 to 0, outside \[-1, 1\]"),
        ([-1, 1], "unit", np.float32, r"outside \[0, 1\]"),
        ([-1, 1], None, np.int32, r"outside \[0, 255\]"),
        ([0, 1, np.nan], None, np.float32, "row 2 holds NaN or infinity"),
        ([0, np.inf], None, np.float32, "row 1 holds NaN or infinity"),
        ([0, 255], "unit", np.uint8, r"outside \[0, 1\]: give --range byte"),
        ([0, 1], None, np.uint8, r"none above 1: give --range unit if 1 is white, byte if 255 is"),
        ([0, 1], None, np.int64, r"none above 1: give --range unit if 1 is white, byte if 255 is"),
        ([0, 256], None, np.int32, r"outside \[0, 255\]: clip or rescale"),
        ([0, 1.06], "unit", np.float32, r"outside \[0, 1\]: give --range signed"),
        ([-0.02, 0.03], None, np.float32, "Give --range signed, or else --range unit, which clamps"),
        ([-0.1, 0.4], None, np.float32, r"Give --range signed, or else numpy\.clip\(array, 0, 1\)"),
        ([0, 1], None, bool, "expected uint8, integers or floats: save array.astype"),
        ([0, 1], None, np.complex64, "expected numbers: save their real part"),
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


def test_what_is_clamped_is_counted():
    values = np.full((5000, 2, 2), 0.5, np.float32)
    values[4500, 0], values[4700, 1, 1] = -0.03, 1.04
    found = find_range(values, None)
    assert found.clamped == 3
    assert found.note.endswith("(found -0.03 to 1.04), rounded to uint8; 3 outside it clamped, the first in row 4,500")
    images = Pixels(None, 0, 1).read(values)
    np.testing.assert_array_equal(images[:, 0].numpy(), np.rint(values.clip(0, 1) * 255).astype(np.uint8))


@pytest.mark.parametrize("dtype", ["u1", "i8", ">i4", "f4", ">f8", "f2"])
def test_black_and_white_are_the_same_pictures_in_any_type(dtype):
    values = (np.random.default_rng(0).random((3, 4, 4)) < 0.5).astype(dtype)
    found = find_range(values, "unit")
    images = Pixels(None, *RANGES[found.name]).read(values)
    np.testing.assert_array_equal(images[:, 0].numpy(), np.where(values > 0, 255, 0))
