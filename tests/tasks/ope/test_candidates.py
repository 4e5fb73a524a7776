"""The choice among corrections, without the truth."""

import pytest
import torch

from lfiw.errors import InputError
from lfiw.tasks.ope.baselines import check_baselines, importance_sampling, policy_log_ratio
from lfiw.tasks.ope.candidates import (
    AVERAGED,
    MEAN,
    RESAMPLED,
    UNCORRECTED,
    anchored,
    choose,
    do_nothing,
    model_estimates,
    paired_returns,
)
from lfiw.tasks.ope.estimators import model_based, per_decision, trajectory_weighted
from lfiw.tasks.ope.policy import Policy
from lfiw.tasks.ope.rollouts import Rollouts
from lfiw.tasks.ope.simulation import Simulated


@pytest.mark.parametrize(
    ("gain", "expected"),
    [((1.0, 0.1), AVERAGED), ((1.0, 0.6), MEAN), ((-0.1, 0.01), MEAN)],  # 1 ± 0.6: the gain may be zero
)
def test_the_choice(gain: tuple[float, float], expected: str) -> None:
    chosen, reason = choose(gain)
    assert chosen == expected
    assert reason.endswith(f"is {gain[0]:.3g} ± {gain[1]:.2g} nats")


def simulated(log_ratio: torch.Tensor, reward: torch.Tensor, members: int = 2) -> Simulated:
    n, t = reward.shape
    return Simulated(reward, log_ratio, torch.arange(n) % members, torch.zeros(n, t, 1), torch.zeros(n, t, 1), 0)


def test_every_estimate_is_the_function_that_its_name_says() -> None:
    generator = torch.Generator().manual_seed(0)
    log_ratio = 0.5 * torch.randn(200, 100, generator=generator, dtype=torch.float64)
    reward = torch.rand(200, 100, generator=generator)
    runs = {UNCORRECTED: simulated(log_ratio, reward)}
    runs |= {name: simulated(torch.zeros_like(log_ratio), reward + i) for i, name in ((1, RESAMPLED), (2, AVERAGED))}
    found = model_estimates(runs, 50.0, 3, generator)
    assert next(iter(found)) == UNCORRECTED
    assert found[UNCORRECTED].value == pytest.approx(model_based(reward).item())
    assert found["trajectory"].value == pytest.approx(trajectory_weighted(log_ratio, reward).item())
    assert found["trajectory, first 80"].value == pytest.approx(trajectory_weighted(log_ratio, reward, 80).item())
    assert found["per-decision"].value == pytest.approx(per_decision(log_ratio, reward).item())
    assert found[RESAMPLED].value == pytest.approx(100 + model_based(reward).item())
    assert found[AVERAGED].value == pytest.approx(200 + model_based(reward).item())


def by_members(means: list[float], noise: float = 0.0) -> Simulated:
    """Trajectories of one step, a hundred of each member, with these mean returns."""
    members, n = len(means), 100 * len(means)
    reward = torch.tensor(means).repeat(100)[:, None]
    reward = reward + noise * torch.randn(n, 1, generator=torch.Generator().manual_seed(0))
    return simulated(torch.zeros(n, 1), reward, members)


def test_an_anchored_estimate_adds_the_simulated_gain_to_the_known_return() -> None:
    generator = torch.Generator().manual_seed(0)
    known = torch.tensor([8.0, 9.0, 10.0])
    found = anchored(by_members([20.0, 23.0, 22.0]), by_members([10.0, 12.0, 14.0]), known, 50, generator)
    assert found.value == pytest.approx(9.0 + (10 + 11 + 8) / 3)
    assert found.interval is not None
    assert found.interval.low <= found.value <= found.interval.high


def test_diverged_trajectories_leave_pairs_of_the_same_member() -> None:
    whole, lost = by_members([20.0, 30.0, 40.0]), by_members([1.0, 2.0, 3.0])
    kept = (lost.member == 0) | (torch.arange(300) >= 30)
    some = Simulated(**{name: v[kept] if name != "num_diverged" else 20 for name, v in vars(lost).items()})
    pairs, member = paired_returns(whole, some)
    assert torch.bincount(member).tolist() == [100, 90, 90]
    torch.testing.assert_close(pairs, torch.stack([20.0 + 10 * member, 1.0 + member], dim=1).double())


def test_an_anchored_estimate_is_as_uncertain_as_what_the_members_do_not_share() -> None:
    """Errors that are the same for both policies, and others that are not: only the others are left."""
    generator = torch.Generator().manual_seed(1)
    known = 9.0 + torch.zeros(50)
    shared = torch.tensor([-4.0, -2.0, 0.0, 2.0, 4.0])
    own = torch.tensor([0.3, -0.3, 0.0, -0.3, 0.3])
    behaviour, evaluation = (shared + 10.0).tolist(), (shared + 20.0 + own).tolist()
    found = anchored(by_members(evaluation, 0.1), by_members(behaviour, 0.1), known, 200, generator)
    assert found.value == pytest.approx(19.0, abs=0.05)
    assert found.interval is not None
    assert found.interval.standard_error == pytest.approx(own.std(correction=0).item() / 5**0.5, rel=0.25)


def gaussian(mean: float, **options: float) -> Policy:
    policy = Policy((1, 2, 1), **options)
    for parameter in policy.parameters():
        parameter.zero_()
    policy.mean.bias.fill_(mean)
    policy.low.fill_(-100)
    policy.high.fill_(100)
    return policy


def rollouts(policy: Policy, n: int = 500, t: int = 4) -> Rollouts:
    """Reward = action; states mean nothing."""
    observation = torch.zeros(n, t, 1)
    action = policy.sample(observation.flatten(0, 1), torch.Generator().manual_seed(0)).view(n, t, 1)
    log_prob = policy.log_prob(observation.flatten(0, 1), action.flatten(0, 1)).view(n, t)
    never = torch.zeros(n, t, dtype=torch.bool)
    return Rollouts(observation, action, action[..., 0], observation, never, ~never, log_prob)


def test_importance_sampling_of_policies_whose_actions_are_the_rewards() -> None:
    found = importance_sampling(
        rollouts(gaussian(0.0)), gaussian(0.0), gaussian(0.3), 20, torch.Generator().manual_seed(0)
    )
    for estimate in found.values():
        assert estimate.value == pytest.approx(4 * 0.3, abs=0.5)
        assert estimate.interval is not None
        assert estimate.interval.low < estimate.value < estimate.interval.high


def test_the_log_ratio_of_two_gaussians() -> None:
    data = rollouts(gaussian(0.0), 10)
    a = data.action[..., 0].double()
    expected = (a.square() - (a - 0.3).square()) / 2
    torch.testing.assert_close(policy_log_ratio(data, gaussian(0.0), gaussian(0.3)), expected, atol=1e-6, rtol=1e-6)


def test_an_evaluation_policy_that_never_acts_so_has_no_estimate() -> None:
    data = rollouts(gaussian(5.0), 10)
    squashed = Policy((1, 2, 1), squashed=True)
    assert importance_sampling(data, gaussian(5.0), squashed, 5, torch.Generator()) == {}


def test_baselines_that_need_densities() -> None:
    sure = gaussian(0.0, noise=0.0)
    with pytest.raises(InputError, match=r"behaviour_noise=0 leaves none; .* or task.baselines=\[fitted_q\]"):
        check_baselines(["importance_sampling"], sure, gaussian(0.0))
    with pytest.raises(InputError, match="evaluation_noise=0 leaves none"):
        check_baselines(["doubly_robust"], gaussian(0.0), sure)
    check_baselines(["fitted_q"], sure, sure)


def test_doing_nothing_takes_the_known_return() -> None:
    returns = torch.linspace(0, 2, 101)
    found = do_nothing(returns, 500, torch.Generator().manual_seed(0))
    assert found.value == pytest.approx(1.0)
    assert found.interval is not None
    assert found.interval.standard_error == pytest.approx(returns.std().item() / 101**0.5, rel=0.15)
