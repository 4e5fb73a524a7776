"""Chains in a latent space, against densities that are known."""

import math

import pytest
import torch
from scipy.stats import kstest, norm
from torch import Tensor

from lfiw import InputError
from lfiw.weighting.latent_chains import crank_nicolson

CHAINS = 4000


def first(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(CHAINS, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("step", [0.4, 1.0])
def test_a_tilt_moves_the_normal_distribution(step: float) -> None:
    """N(0, 1)·exp(az) is N(a, 1), whatever the scale of the weights."""
    found = crank_nicolson(lambda z: 1.5 * z[:, 0] + 700, first(1), 80, step, torch.Generator().manual_seed(1))
    assert kstest(found.latent[:, 0], norm(1.5).cdf).pvalue > 1e-3
    assert kstest(found.latent[:, 0], norm(0).cdf).pvalue < 1e-9  # what it started from
    torch.testing.assert_close(found.log_weight, 1.5 * found.latent[:, 0] + 700)


def test_two_islands_keep_their_masses() -> None:
    """w is e² where z₀ > 1, and 1 elsewhere: the odds of the islands are e² times those of the normal distribution."""
    odds = math.exp(2) * norm.sf(1) / norm.cdf(1)
    found = crank_nicolson(lambda z: 2.0 * (z[:, 0, 0] > 1), first(3, 2), 60, 0.7, torch.Generator().manual_seed(2))
    share = odds / (1 + odds)
    held = (found.latent[:, 0, 0] > 1).double().mean().item()
    assert held == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / CHAINS))
    assert kstest(found.latent[:, 2, 1], norm.cdf).pvalue > 1e-3  # the weights do not see it


def test_without_weights_every_proposal_is_accepted() -> None:
    found = crank_nicolson(lambda z: torch.zeros(len(z)), first(2), 5, 0.3, torch.Generator().manual_seed(3))
    assert found.accepted == 5 * CHAINS
    assert kstest(found.latent.flatten(), norm.cdf).pvalue > 1e-3
    still = crank_nicolson(lambda z: torch.zeros(len(z)), first(2), 0, 0.3)
    assert torch.equal(still.latent, first(2))
    assert still.accepted == 0


@pytest.mark.parametrize(
    ("log_weight", "steps", "step", "message"),
    [
        (lambda z: z[:, 0], 1, 0.0, r"step=0\.0: expected above 0 and at most 1"),
        (lambda z: z[:, 0], 1, 1.2, r"step=1\.2"),
        (lambda z: z[:, 0], 1, math.nan, "step=nan"),
        (lambda z: z[:, 0], -1, 0.5, "num_steps=-1"),
        (lambda z: z[:, 0] / 0, 1, 0.5, "log_ratio"),
        (lambda z: z[:0, 0], 1, 0.5, "non-empty"),
    ],
)
def test_what_is_refused(log_weight, steps: int, step: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        crank_nicolson(log_weight, first(2), steps, step)
