"""How much weightings leave effective, by rows of both sides."""

import math

import pytest
import torch
from scipy import integrate, stats

from lfiw import InputError, Weighting, effective_sample_size
from lfiw.weighting.overlap import effective_shares, log_normaliser


def gaussians(shift: float, n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Exact log-ratios of N(shift, 1) against N(0, 1) under each."""
    x = torch.randn(2, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return shift * (x[0] + shift) - shift**2 / 2, shift * x[1] - shift**2 / 2


def test_the_normaliser_of_an_exact_ratio_is_zero_and_follows_its_scale() -> None:
    real, generated = gaussians(2.0, 20_000)
    assert log_normaliser(real, generated) == pytest.approx(0, abs=0.05)
    assert log_normaliser(real + 700, generated + 700) == pytest.approx(700 + log_normaliser(real, generated))


def test_sides_that_are_told_apart_have_a_normaliser() -> None:
    assert math.isfinite(log_normaliser(torch.full((5,), 800.0), torch.full((5,), -800.0)))


@pytest.mark.parametrize(("flatten", "clip"), [(1.0, 0.0), (0.5, 0.0), (1.0, 0.5)])
def test_shares_are_the_integrals(flatten: float, clip: float) -> None:
    shift = 1.0

    def weight(x: float) -> float:
        return max(math.exp(flatten * (shift * x - shift**2 / 2)), clip)

    moments = [integrate.quad(lambda x, j=j: weight(x) ** j * stats.norm.pdf(x), -12, 12)[0] for j in (1, 2)]
    share = effective_shares([Weighting(flatten, clip)], *gaussians(shift, 50_000), num_scored=10**9)
    assert share.item() == pytest.approx(moments[0] ** 2 / moments[1], rel=0.05)


def test_the_scored_rows_keep_what_is_expected() -> None:
    """200 repetitions, 500 judging rows per side: the ESS of 3,000 scored rows against half of what was expected."""
    low, low_by_generated_rows = 0, 0
    for seed in range(200):
        real, generated = gaussians(1.5, 500, seed)
        scored = effective_sample_size(Weighting()(gaussians(1.5, 3000, 10_000 + seed)[1])).item() / 3000
        expected = effective_shares([Weighting()], real, generated, num_scored=3000).item()
        low += scored < expected / 2
        low_by_generated_rows += scored < effective_sample_size(Weighting()(generated)).item() / 500 / 2
    assert low <= 10
    assert low_by_generated_rows >= 15


def test_rows_are_needed_on_both_sides() -> None:
    with pytest.raises(InputError):
        effective_shares([Weighting()], torch.zeros(0), torch.zeros(3), 3)
