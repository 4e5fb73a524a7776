"""Means and spreads of columns at any scale and offset, against exact arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from lfiw.weighting import standard_units
from lfiw.weighting.standard_units import mean_and_scale, mean_and_spread


def exact(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation in rational numbers; their quotient with the spread's root taken last."""
    numbers = [Fraction(float(v)) for v in values]
    mean = sum(numbers) / len(numbers)
    size = max(abs(n - mean) for n in numbers)
    variance = sum(((n - mean) / size) ** 2 for n in numbers) / (len(numbers) - 1)
    return float(mean), float(size) * float(variance) ** 0.5


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-10, 1.0, 1e10, 1e160, 1e300])
@pytest.mark.parametrize("offset", [0.0, 1.0, 1e6, 1e12])
def test_every_scale_and_offset(scale: float, offset: float) -> None:
    if offset * scale > 1e307:
        pytest.skip("float64 has no such number")
    values = scale * (np.random.default_rng(0).normal(size=500) + offset)
    mean, spread = mean_and_spread(torch.from_numpy(values)[:, None])
    goal, width = exact(values)
    assert mean.item() == pytest.approx(goal, rel=1e-14, abs=1e-15 * width)
    assert spread.item() == pytest.approx(width, rel=1e-12)


def test_constant_columns() -> None:
    """Exactly, at any size, and up to the rounding of sums such as 0.1 + 0.2."""
    constant = [0.0, 0.1, 1e300, -1e-300, 1.7e18]
    x = torch.tensor([constant] * 7, dtype=torch.float64)
    x = torch.cat([x, torch.tensor([[0.3]] * 3 + [[0.1 + 0.2]] * 4, dtype=torch.float64)], dim=1)
    mean, spread = mean_and_spread(x)
    assert (spread == 0).all()
    torch.testing.assert_close(mean, torch.tensor([*constant, 0.3], dtype=torch.float64), rtol=1e-15, atol=0)
    assert (mean_and_scale(x)[1] == 1).all()


def test_a_deviation_of_many_digits_is_none_of_rounding() -> None:
    """Nanoseconds since 1970 over a minute: one part in 10⁸ of their size, with 8 digits."""
    x = 1.7e18 + torch.arange(0, 60_000_000_000, 1_000_000_000, dtype=torch.float64)[:, None]
    assert mean_and_spread(x)[1].item() == pytest.approx(np.arange(60).std(ddof=1) * 1e9, rel=1e-6)


def test_computed_columns_have_rounding_of_their_own() -> None:
    z = torch.tensor([[1.0], [1 + 1e-12], [1 - 1e-12]], dtype=torch.float64)
    assert mean_and_spread(z)[1] > 0
    assert mean_and_spread(z, 1e-9)[1] == 0


def test_one_row_is_constant() -> None:
    mean, spread = mean_and_spread(torch.tensor([[2.0, 5.0]], dtype=torch.float64))
    assert mean.tolist() == [2, 5]
    assert spread.tolist() == [0, 0]


def test_columns_are_taken_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 7)))
    goal = mean_and_spread(x)
    monkeypatch.setattr(standard_units, "MOST_NUMBERS", 120)
    for found, expected in zip(mean_and_spread(x), goal, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-14, atol=0)
