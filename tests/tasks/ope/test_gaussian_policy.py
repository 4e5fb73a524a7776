"""Policies between two others; the oracles are closed forms."""

import pytest
import torch

from lfiw.errors import InputError
from lfiw.tasks.ope.gaussian_policy import Between
from lfiw.tasks.ope.policy import Policy

OBSERVATION = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def policy(seed: int, squashed: bool = False, noise: float = 1.0) -> Policy:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Policy((4, 8, 2), squashed=squashed, noise=noise)


@pytest.mark.parametrize("squashed", [False, True])
def test_means_and_log_deviations_are_interpolated(squashed: bool) -> None:
    start, end = policy(0, squashed), policy(1, squashed, noise=0.5)
    found = Between(start, end, 0.25).gaussian(OBSERVATION)
    for name in ("mean", "log_std"):
        a, b = (getattr(p.gaussian(OBSERVATION), name) for p in (start, end))
        torch.testing.assert_close(getattr(found, name), 0.75 * a + 0.25 * b)
    mean, std = Between(start, end, 0.25).mean_and_std(OBSERVATION)
    torch.testing.assert_close(mean.double(), found.mean, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(std.double().log().expand_as(found.log_std), found.log_std, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("share", "seed"), [(0.0, 0), (1.0, 1)])
def test_the_ends_are_the_policies_themselves(share: float, seed: int) -> None:
    between, one = Between(policy(0, True), policy(1, True), share), policy(seed, True)
    drawn, expected = (p.sample(OBSERVATION, torch.Generator().manual_seed(2)) for p in (between, one))
    torch.testing.assert_close(drawn, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(between.log_prob(OBSERVATION, drawn), one.log_prob(OBSERVATION, drawn))


def test_actions_have_the_distribution_that_they_are_said_to_have() -> None:
    between = Between(policy(0), policy(1, noise=0.5), 0.5)
    states = OBSERVATION[:1].expand(20_000, 4)
    gaussian = between.gaussian(OBSERVATION[:1])
    drawn = between.sample(states, torch.Generator().manual_seed(3)).double()
    std = gaussian.log_std.exp().squeeze(0)
    assert ((drawn.mean(0) - gaussian.mean.squeeze(0)).abs() < 4 * std / 20_000**0.5).all()
    torch.testing.assert_close(drawn.std(0), std, rtol=0.03, atol=0)


def test_what_identifies_a_policy_names_both_ends_and_their_noise() -> None:
    one, other = (Between(policy(0), policy(1, noise=noise), 0.5).options() for noise in (1.0, 0.5))
    assert one != other
    assert one["share"] == 0.5


def test_policies_between_which_there_are_none() -> None:
    with pytest.raises(InputError, match="noise=0 is deterministic"):
        Between(policy(0), policy(1, noise=0.0), 0.5)
    with pytest.raises(InputError, match="squashed=True and False"):
        Between(policy(0, True), policy(1), 0.5)
    with pytest.raises(InputError, match=r"share 1\.5"):
        Between(policy(0), policy(1), 1.5)
