"""Mixtures of discretised logistics against scipy, sums over all values, and frequencies of draws."""

import itertools

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from lfiw.generators import logistic_mixture as lm


def parameters(channels: int, mixtures: int, n: int = 1, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(channels + 10 * mixtures)
    size = (n, lm.num_parameters(channels, mixtures), 1, 1)
    return scale * torch.randn(size, generator=generator, dtype=torch.float64)


def byte_mass(value: int, mean: float, log_scale: float) -> float:
    """Probability of one byte: a difference of scipy's distribution functions, the outermost bins open."""
    law = scipy.stats.logistic(loc=mean, scale=np.exp(max(log_scale, -7)))
    middle = value / 127.5 - 1
    below = 0.0 if value == 0 else law.cdf(middle - 1 / 255)
    above = 1.0 if value == 255 else law.cdf(middle + 1 / 255)
    return above - below


def naive(flat: np.ndarray, pixel: tuple[int, ...], mixtures: int) -> float:
    """The probability of a pixel, component by component."""
    channels = len(pixel)
    kinds = flat.reshape(-1, mixtures)
    shares = np.exp(kinds[0]) / np.exp(kinds[0]).sum()
    x = [value / 127.5 - 1 for value in pixel]
    total = 0.0
    for k in range(mixtures):
        mass, coefficient = shares[k], 1 + 2 * channels
        for i in range(channels):
            mean = kinds[1 + i, k]
            for j in range(i):
                mean += np.tanh(kinds[coefficient, k]) * x[j]
                coefficient += 1
            mass *= byte_mass(pixel[i], mean, kinds[1 + channels + i, k])
        total += mass
    return total


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("mixtures", [1, 3])
def test_against_differences_of_distribution_functions(channels: int, mixtures: int) -> None:
    p = parameters(channels, mixtures)
    generator = np.random.default_rng(0)
    pixels = [(0,) * channels, (255,) * channels, *(tuple(generator.integers(256, size=channels)) for _ in range(20))]
    images = torch.tensor(pixels, dtype=torch.uint8).view(-1, channels, 1, 1)
    found = lm.log_prob(p.expand(len(pixels), -1, -1, -1), images).flatten()
    expected = [np.log(naive(p.flatten().numpy(), pixel, mixtures)) for pixel in pixels]
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_all_values_of_a_pixel_sum_to_one(channels: int, scale: float) -> None:
    p = parameters(channels, 3, scale=scale)
    values = torch.tensor(list(itertools.product(range(256), repeat=channels)), dtype=torch.uint8)
    images = values.view(-1, channels, 1, 1)
    total = torch.logsumexp(lm.log_prob(p.expand(len(images), -1, -1, -1), images).flatten(), 0)
    assert abs(total.item()) < 1e-9


def test_a_third_channel_sums_to_the_first_two() -> None:
    p = parameters(3, 2)
    images = torch.tensor([(40, 200, v) for v in range(256)], dtype=torch.uint8).view(-1, 3, 1, 1)
    total = lm.log_prob(p.expand(256, -1, -1, -1), images).flatten().exp().sum()
    kinds = p.view(10, 2)  # of two channels: leave out mean and scale of the third, and its coefficients
    two = kinds[[0, 1, 2, 4, 5, 7]].reshape(1, -1, 1, 1)
    expected = lm.log_prob(two, torch.tensor([40, 200], dtype=torch.uint8).view(1, 2, 1, 1)).exp()
    torch.testing.assert_close(total, expected.squeeze(), rtol=1e-9, atol=0)


def test_far_tails_stay_finite() -> None:
    """A narrow component far from the pixel: float32, where a difference of distribution functions would be zero."""
    p = torch.tensor([0.0, 0.9, -7.0]).view(1, 3, 1, 1)
    found = lm.log_prob(p, torch.tensor([[[[3]]]], dtype=torch.uint8)).item()
    assert np.isfinite(found)
    distance = (0.9 - (3 / 127.5 - 1)) - 1 / 255
    expected = -distance * np.exp(7) + np.log1p(-np.exp(-2 / 255 * np.exp(7)))  # the exponential tail of the logistic
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("channels", [1, 2])
def test_draws_have_the_probabilities(channels: int) -> None:
    n = 40_000
    p = parameters(channels, 2, scale=1.0)
    p.view(-1, 2)[1 + channels : 1 + 2 * channels] -= 1.5
    uniforms = torch.rand(n, 2 + channels, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = lm.sample(p.expand(n, -1, -1, -1), uniforms, channels).view(n, channels)
    values = torch.tensor(list(itertools.product(range(256), repeat=channels)), dtype=torch.uint8)
    mass = lm.log_prob(p.expand(len(values), -1, -1, -1), values.view(-1, channels, 1, 1)).flatten().exp()
    # bins of at least 25 expected draws, the rest together
    order = mass.argsort(descending=True)
    keep = order[mass[order] * n >= 25]
    index = (drawn.long() * torch.tensor([256 ** (channels - 1 - i) for i in range(channels)])).sum(1)
    counts = torch.bincount(index, minlength=len(values))
    observed = [*counts[keep].tolist(), n - int(counts[keep].sum())]
    expected = [*(mass[keep] * n).tolist(), n * (1 - mass[keep].sum().item())]
    assert scipy.stats.chisquare(observed, expected).pvalue > 1e-4


def test_the_mean_image_is_the_mean_of_wide_draws() -> None:
    """Where hardly any draw is cut at 0 and 255."""
    p = parameters(3, 2, scale=0.2)
    p.view(-1, 2)[4:7] = -3.0
    uniforms = torch.rand(20_000, 5, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = lm.sample(p.expand(20_000, -1, -1, -1), uniforms, 3).double().mean(0)
    assert (drawn - lm.mean_image(p, 3)[0].double()).abs().max() < 1.0  # rounding, and a standard error of 0.1


def test_bits() -> None:
    assert lm.bits_per_dimension(torch.tensor(np.log(256) * 12), (3, 2, 2)).item() == pytest.approx(8)
