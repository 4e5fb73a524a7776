"""The choice among corrections, without the truth."""

import pytest
import torch

from lfiw.errors import InputError
from lfiw.ope.baselines import check_baselines, importance_sampling, policy_log_ratio
from lfiw.ope.candidates import RESAMPLED, UNCORRECTED, Estimate, choose, model_estimates
from lfiw.ope.estimators import Interval, model_based, per_decision, trajectory_weighted
from lfiw.ope.policy import Policy
from lfiw.ope.rollouts import Rollouts
from lfiw.ope.simulation import Simulated

KNOWN = torch.tensor([9.0, 10.0, 11.0])  # mean 10


def estimates(uncorrected: float, resampled: float, error: float = 0.0) -> dict[str, Estimate]:
    values = {UNCORRECTED: uncorrected, RESAMPLED: resampled}
    return {name: Estimate(value, Interval(0, 0, error)) for name, value in values.items()}


@pytest.mark.parametrize(
    ("of_behaviour", "gain", "expected"),
    [
        (estimates(20.0, 11.0), (1.0, 0.1), RESAMPLED),
        (estimates(20.0, 11.0), (1.0, 0.6), UNCORRECTED),  # the gain may be zero
        (estimates(11.0, 20.0), (1.0, 0.1), UNCORRECTED),  # the return that is known gets worse
        (estimates(11.0, 20.0, 8.0), (1.0, 0.1), RESAMPLED),  # … within noise
    ],
)
def test_the_choice(of_behaviour: dict[str, Estimate], gain: tuple[float, float], expected: str) -> None:
    chosen, reason = choose(of_behaviour, KNOWN, gain)
    assert chosen == expected
    assert "return is 10" in reason


def simulated(log_ratio: torch.Tensor, reward: torch.Tensor) -> Simulated:
    n, t = reward.shape
    return Simulated(reward, log_ratio, torch.arange(n) % 2, torch.zeros(n, t, 1), torch.zeros(n, t, 1), 0)


def test_every_estimate_is_the_function_that_its_name_says() -> None:
    generator = torch.Generator().manual_seed(0)
    log_ratio = 0.5 * torch.randn(200, 100, generator=generator, dtype=torch.float64)
    reward = torch.rand(200, 100, generator=generator)
    resampled = simulated(torch.zeros_like(log_ratio), reward + 1)
    found = model_estimates(simulated(log_ratio, reward), resampled, 50.0, 3, generator)
    assert found[UNCORRECTED].value == pytest.approx(model_based(reward).item())
    assert found["trajectory"].value == pytest.approx(trajectory_weighted(log_ratio, reward).item())
    assert found["trajectory, first 80"].value == pytest.approx(trajectory_weighted(log_ratio, reward, 80).item())
    assert found["per-decision"].value == pytest.approx(per_decision(log_ratio, reward).item())
    assert found[RESAMPLED].value == pytest.approx(100 + model_based(reward).item())


def gaussian(mean: float, **options: float) -> Policy:
    policy = Policy((1, 2, 1), **options)
    for parameter in policy.parameters():
        parameter.zero_()
    policy.mean.bias.fill_(mean)
    return policy


def rollouts(policy: Policy, n: int = 500, t: int = 4) -> Rollouts:
    """Reward = action; states mean nothing."""
    observation = torch.zeros(n, t, 1)
    action = policy.sample(observation.flatten(0, 1), torch.Generator().manual_seed(0)).view(n, t, 1)
    log_prob = policy.log_prob(observation.flatten(0, 1), action.flatten(0, 1)).view(n, t)
    never = torch.zeros(n, t, dtype=torch.bool)
    return Rollouts(observation, action, action[..., 0], observation, never, ~never, log_prob)


def test_importance_sampling_of_policies_whose_actions_are_the_rewards() -> None:
    found = importance_sampling(rollouts(gaussian(0.0)), gaussian(0.3), 20, torch.Generator().manual_seed(0))
    for estimate in found.values():
        assert estimate.value == pytest.approx(4 * 0.3, abs=0.5)
        assert estimate.interval is not None
        assert estimate.interval.low < estimate.value < estimate.interval.high


def test_the_log_ratio_of_two_gaussians() -> None:
    data = rollouts(gaussian(0.0), 10)
    a = data.action[..., 0].double()
    expected = (a.square() - (a - 0.3).square()) / 2
    torch.testing.assert_close(policy_log_ratio(data, gaussian(0.3)), expected, atol=1e-6, rtol=1e-6)


def test_an_evaluation_policy_that_never_acts_so_has_no_estimate() -> None:
    data = rollouts(gaussian(5.0), 10)
    squashed = Policy((1, 2, 1), squashed=True)
    assert importance_sampling(data, squashed, 5, torch.Generator()) == {}


def test_baselines_that_need_densities() -> None:
    data = rollouts(gaussian(0.0), 4)
    without = Rollouts(**{**vars(data), "log_prob": None})
    with pytest.raises(InputError, match=r"no column log_prob: .* or task.baselines=\[fitted_q\]"):
        check_baselines(["importance_sampling"], without, gaussian(0.0))
    with pytest.raises(InputError, match="evaluation_noise=0 has none"):
        check_baselines(["doubly_robust"], data, gaussian(0.0, noise=0.0))
    with pytest.raises(InputError, match="'is' is not one of"):
        check_baselines(["is"], data, gaussian(0.0))
    check_baselines(["fitted_q"], without, gaussian(0.0, noise=0.0))
