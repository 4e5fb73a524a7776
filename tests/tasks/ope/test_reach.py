"""How far episodes carry; the oracles are scipy and closed forms of normal distributions."""

import json
import math
from itertools import pairwise

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from lfiw.tasks.ope.policy import Gaussian, Policy
from lfiw.tasks.ope.reach import AT_EDGE, CARRIES, OUT, WITHIN, Path, reach_of
from lfiw.tasks.ope.rollouts import Rollouts

STD = 0.5


def constant_policy(mean: float, bound: float = 1e6, noise: float = 1.0, squashed: bool = False) -> Policy:
    """Acts in the same way everywhere: N(mean, STD²) in two dimensions."""
    policy = Policy((3, 2), squashed=squashed, noise=noise)
    policy.mean.weight.zero_()
    policy.mean.bias.fill_(mean)
    if isinstance(policy.log_std, torch.Tensor):
        policy.log_std.fill_(math.log(STD))
    policy.low.fill_(-bound)
    policy.high.fill_(bound)
    return policy


def episodes(policy: Policy, num: int, steps: int = 1, seed: int = 0) -> Rollouts:
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(num, steps, 3, generator=generator)
    actions = policy.sample(states.flatten(0, 1), generator).view(num, steps, 2)
    none = torch.zeros(num, steps)
    return Rollouts(states, actions, none, states, none.bool(), torch.ones(num, steps, dtype=torch.bool))


def test_probabilities_of_clipped_actions_sum_to_one() -> None:
    policy = constant_policy(0.3, bound=0.7)
    gaussian = Gaussian(torch.full((1, 2), 0.3).double(), torch.full((1, 2), math.log(STD)).double())

    def density(first: float, second: float) -> float:
        return policy.log_density(gaussian, torch.tensor([[first, second]])).exp().item()

    inside = quad(lambda x: density(x, 0.1), -0.7 + 1e-9, 0.7 - 1e-9, epsabs=1e-10)[0]
    at_bounds = density(-0.7, 0.1) + density(0.7, 0.1)
    assert inside + at_bounds == pytest.approx(norm(0.3, STD).pdf(0.1), rel=1e-5)
    assert density(5.0, -9.0) == pytest.approx(norm.sf(0.7, 0.3, STD) * norm.cdf(-0.7, 0.3, STD), rel=1e-6)


def test_weights_of_clipped_actions_have_mean_one_and_vary_less() -> None:
    behaviour, evaluation = constant_policy(0.0, bound=0.4), constant_policy(0.25, bound=0.4)
    data = episodes(behaviour, 100_000)
    clipped = Path(data, behaviour, evaluation).log_weights(1.0).exp()
    drawn = Path(data, constant_policy(0.0), constant_policy(0.25)).log_weights(1.0).exp()
    assert clipped.mean().item() == pytest.approx(1, abs=4 * clipped.std().item() / 100_000**0.5)
    assert clipped.var() < 0.9 * drawn.var()


@pytest.mark.parametrize("steps", [1, 5])
def test_effective_share_of_a_shift(steps: int) -> None:
    """Of two normal distributions with one scale and means δ scales apart: exp(−δ²) per coordinate and step."""
    behaviour, evaluation = constant_policy(0.0), constant_policy(0.2 * STD)
    path = Path(episodes(behaviour, 200_000 // steps, steps), behaviour, evaluation)
    for share in (0.5, 1.0):
        expected = math.exp(-((share * 0.2) ** 2) * 2 * steps)
        assert path.effective_share(share) == pytest.approx(expected, rel=0.03)


def test_how_far_a_tenth_of_the_episodes_carries() -> None:
    """exp(−2δ²λ²) = 1/10 with δ = 3 scales in both coordinates."""
    behaviour = constant_policy(0.0)
    reach = reach_of(episodes(behaviour, 200_000), behaviour, constant_policy(3 * STD))
    assert reach is not None
    assert reach.levels[CARRIES] == pytest.approx(math.sqrt(math.log(10) / 2) / 3, rel=0.05)
    assert reach.distance == pytest.approx(1 / reach.levels[CARRIES])
    assert all(a >= b for a, b in pairwise(reach.effective))
    assert list(reach.levels.values()) == sorted(reach.levels.values())


@pytest.mark.parametrize(("shift", "verdict"), [(0.5, WITHIN), (1.2, AT_EDGE), (4.0, OUT)])
def test_verdict(shift: float, verdict: str) -> None:
    behaviour = constant_policy(0.0)
    reach = reach_of(episodes(behaviour, 20_000), behaviour, constant_policy(shift * STD))
    assert reach is not None
    assert reach.verdict == verdict
    assert (reach.distance <= 1) == (verdict == WITHIN)
    assert json.loads(json.dumps(reach.to_json()))["levels"]["0.1"] == reach.levels[CARRIES]


def test_one_of_few_episodes_is_no_edge() -> None:
    behaviour = constant_policy(0.0)
    reach = reach_of(episodes(behaviour, 20), behaviour, constant_policy(4 * STD))
    assert reach is not None
    assert reach.effective[-1] >= 0.05
    assert reach.verdict == OUT


def test_steps_after_the_end_weigh_nothing() -> None:
    behaviour, evaluation = constant_policy(0.0), constant_policy(0.2)
    data = episodes(behaviour, 50, steps=4)
    valid = torch.arange(4) < torch.arange(50)[:, None] % 5
    short = Rollouts(**{**vars(data), "valid": valid})
    weights = Path(short, behaviour, evaluation).log_weights(1.0)
    alone = [Path(data.episodes(torch.tensor([i])), behaviour, evaluation).log_weights(1.0) for i in (4, 9)]
    torch.testing.assert_close(weights[[4, 9]], torch.cat(alone))
    assert weights[0] == 0


def test_without_densities_there_is_no_path() -> None:
    behaviour = constant_policy(0.0)
    data = episodes(behaviour, 10)
    assert reach_of(data, behaviour, constant_policy(0.1, noise=0.0)) is None
    assert reach_of(data, behaviour, constant_policy(0.1, bound=1.0, squashed=True)) is None
