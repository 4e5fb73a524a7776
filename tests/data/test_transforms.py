"""Augmentation of whole batches against one sample at a time."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from torch import Tensor
from torchvision.transforms import functional as TF

from lfiw.data.transforms import (
    AUGMENTATIONS,
    affine,
    crop,
    crop_and_flip,
    crop_only,
    draw_affine,
    draw_flips,
    draw_offsets,
    flip,
    flip_only,
    standardise,
)
from lfiw.schemas import AUGMENTATIONS as WORDS

DTYPES = [torch.uint8, torch.float32, torch.float64, torch.int64]


def batch(n: int, c: int, h: int, w: int, dtype: torch.dtype = torch.uint8, seed: int = 0) -> Tensor:
    return torch.randint(1, 255, (n, c, h, w), generator=torch.Generator().manual_seed(seed)).to(dtype)


@given(
    st.integers(1, 6),
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 4),
    st.sampled_from(DTYPES),
)
def test_crop_of_each_sample(n: int, c: int, h: int, w: int, padding: int, dtype: torch.dtype) -> None:
    images = batch(n, c, h, w, dtype)
    offsets = draw_offsets(n, padding, torch.Generator().manual_seed(h))
    got = crop(images, offsets, padding)
    expected = [
        TF.crop(TF.pad(image, [padding] * 4), int(top), int(left), h, w)
        for image, (top, left) in zip(images, offsets, strict=True)
    ]
    assert torch.equal(got, torch.stack(expected))
    assert got.dtype == dtype


@given(st.integers(1, 8), st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), st.sampled_from(DTYPES))
def test_flip_of_each_sample(n: int, c: int, h: int, w: int, dtype: torch.dtype) -> None:
    images = batch(n, c, h, w, dtype)
    mirrored = draw_flips(n, torch.Generator().manual_seed(n))
    expected = [TF.hflip(image) if m else image for image, m in zip(images, mirrored, strict=True)]
    assert torch.equal(flip(images, mirrored), torch.stack(expected))


def test_memory_layout_is_irrelevant() -> None:
    images = batch(5, 3, 8, 6)
    expected = crop_and_flip(images, seed=1)
    assert torch.equal(crop_and_flip(images.contiguous(memory_format=torch.channels_last), seed=1), expected)
    assert torch.equal(crop_and_flip(images.repeat_interleave(2, 0)[::2], seed=1), expected)


@pytest.mark.parametrize("augment", [crop_and_flip, crop_only, flip_only])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 12])
def test_shares_of_a_batch_equal_the_whole(world_size: int, augment: Callable[..., Tensor]) -> None:
    images = batch(12, 3, 16, 16)
    whole = augment(images, seed=7)
    for rank in range(world_size):
        part = augment(images[rank::world_size], 7, share=(rank, world_size), size=12)
        assert torch.equal(part, whole[rank::world_size])


def test_each_sample_has_its_own_parameters() -> None:
    images = batch(1, 1, 32, 32).expand(400, -1, -1, -1)
    changed = crop_and_flip(images, seed=0)
    kinds = len({tuple(image.flatten().tolist()) for image in changed})
    # 9·9·2 = 162 kinds, 400 draws: 162·(1 − (1 − 1/162)⁴⁰⁰) = 148.4 of them expected, standard deviation 3.1
    assert 130 < kinds <= 162
    assert torch.equal(crop_and_flip(images, seed=0), changed)
    assert not torch.equal(crop_and_flip(images, seed=1), changed)


def test_a_crop_alone_only_moves_images() -> None:
    """Each sample is one of the 25 windows of the padded image, none of them mirrored, and all occur."""
    images = batch(1, 2, 16, 16).expand(400, -1, -1, -1)
    padded = TF.pad(images[0], [2] * 4)
    windows = {tuple(TF.crop(padded, top, left, 16, 16).flatten().tolist()) for top in range(5) for left in range(5)}
    assert {tuple(image.flatten().tolist()) for image in crop_only(images, seed=0)} == windows


def test_parameters_are_uniform() -> None:
    generator = torch.Generator().manual_seed(0)
    offsets = draw_offsets(9000, 4, generator)
    for axis in range(2):
        counts = torch.bincount(offsets[:, axis], minlength=9)
        assert len(counts) == 9
        assert ((counts - 1000).abs() < 150).all()  # standard deviation 29.8
    assert offsets.double().T.corrcoef()[0, 1].abs() < 0.053  # 5/√9000
    assert abs(int(draw_flips(9000, generator).sum()) - 4500) < 237  # five standard deviations


def test_the_input_stays_and_the_global_generator_too() -> None:
    images = batch(6, 1, 8, 8)
    kept = images.clone()
    state = torch.random.get_rng_state()
    crop_and_flip(images, seed=3)
    assert torch.equal(images, kept)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_no_rows() -> None:
    assert crop_and_flip(batch(0, 3, 8, 8), seed=0, share=(1, 2), size=1).shape == (0, 3, 8, 8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("values", [batch(5, 3, 4, 4), batch(5, 3, 4, 4, torch.float64) / 7, batch(5, 3, 4, 4).float()])
def test_standardise(values: Tensor, dtype: torch.dtype) -> None:
    kept = values.clone()
    mean, std = (torch.tensor(x, dtype=dtype).view(3, 1, 1) for x in ([120.0, 0.0, -3.0], [60.0, 1.0, 0.5]))
    got = standardise(values, mean, std)
    assert got.dtype == dtype  # that of the network: 64-bit training stays 64-bit
    expected = (values.numpy().astype(np.float64) - mean.numpy()) / std.numpy()
    # values up to 255/0.5: a few roundings of numbers near 510
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e3 * torch.finfo(dtype).eps)
    assert torch.equal(values, kept)


def test_names() -> None:
    named = {"none": None, "crop": crop_only, "crop_flip": crop_and_flip, "flip": flip_only, "affine": affine}
    assert named == AUGMENTATIONS
    assert tuple(named) == WORDS


def test_affine_is_scipys_map_of_the_drawn_parameters() -> None:
    """Bilinear values at the mapped places, by scipy, in pixels: (v + 1)·side/2 − ½."""
    side, seed = 12, 3
    data = torch.rand(4, 1, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = affine(data.float(), seed)
    maps = draw_affine(4, torch.Generator().manual_seed(seed)).double().numpy()
    centres = (np.arange(side) + 0.5) * 2 / side - 1
    y, x = np.meshgrid(centres, centres, indexing="ij")
    for image, matrix, moved in zip(data[:, 0].numpy(), maps, found[:, 0], strict=True):
        places = [(row[0] * x + row[1] * y + row[2] + 1) * side / 2 - 0.5 for row in (matrix[1], matrix[0])]
        padded = np.pad(image, 3)  # zeros outside, also between the last pixel and the edge
        expected = map_coordinates(padded, [place + 3 for place in places], order=1, cval=0.0)
        np.testing.assert_allclose(moved.numpy(), expected, atol=1e-5)


def test_affine_parameters_are_those_of_the_whole_batch() -> None:
    data = torch.randint(256, (6, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = affine(data, 5)
    assert whole.dtype == torch.uint8
    for rank in range(2):
        assert torch.equal(affine(data[rank::2], 5, share=(rank, 2), size=6), whole[rank::2])
    assert torch.equal(affine(data[:0], 5), data[:0])
