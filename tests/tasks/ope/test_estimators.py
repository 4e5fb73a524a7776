"""Estimators of returns against exact values of a small decision process."""

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch
from tasks.ope.tabular import STEPS, tabular
from torch import Tensor

from lfiw.errors import InputError
from lfiw.tasks.ope import estimators
from lfiw.tasks.ope.estimators import (
    bootstrap_interval,
    cumulative,
    doubly_robust,
    ess_by_horizon,
    horizon_by_ess,
    model_based,
    per_decision,
    spread_of_per_decision,
    trajectory_weighted,
)

SEEDS = 100
MDP = tabular()
TRUTH = MDP.value([MDP.real] * STEPS, MDP.evaluation)


@cache
def simulated(seed: int, num: int = 400) -> tuple[Tensor, Tensor]:
    """Exact log-ratios and rewards of model trajectories under the evaluation policy."""
    states, actions, rewards = MDP.rollouts(MDP.model, MDP.evaluation, num, seed)
    index = states[:, :-1], actions, states[:, 1:]
    return MDP.real[index].log() - MDP.model[index].log(), rewards


@cache
def observed(seed: int, num: int = 400) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Exact log-ratios, rewards, states and actions of real trajectories under the behaviour policy."""
    states, actions, rewards = MDP.rollouts(MDP.real, MDP.behaviour, num, seed)
    index = states[:, :-1], actions
    return MDP.evaluation[index].log() - MDP.behaviour[index].log(), rewards, states[:, :-1], actions


def mean_and_error(estimate: Callable[[int], Tensor]) -> tuple[float, float]:
    values = torch.stack([estimate(seed) for seed in range(SEEDS)])
    return values.mean().item(), values.std().item() / math.sqrt(SEEDS)


def test_the_uncorrected_estimate_has_the_models_bias() -> None:
    biased = MDP.value([MDP.model] * STEPS, MDP.evaluation)
    mean, error = mean_and_error(lambda seed: model_based(simulated(seed)[1]))
    assert abs(biased - TRUTH) > 0.3
    assert abs(mean - biased) < 4 * error


@pytest.mark.parametrize("estimator", [trajectory_weighted, per_decision])
def test_exact_ratios_make_it_unbiased(estimator: Callable[..., Tensor]) -> None:
    mean, error = mean_and_error(lambda seed: estimator(*simulated(seed), self_normalise=False))
    assert abs(mean - TRUTH) < 4 * error
    assert error < 0.05


@pytest.mark.parametrize("estimator", [trajectory_weighted, per_decision])
@pytest.mark.parametrize("smooth", [False, True])
def test_self_normalised_it_converges_to_the_truth(estimator: Callable[..., Tensor], smooth: bool) -> None:
    def rmse(num: int) -> float:
        errors = [estimator(*simulated(seed, num), smooth=smooth).item() - TRUTH for seed in range(40)]
        return math.sqrt(sum(e * e for e in errors) / len(errors))

    few, many = rmse(200), rmse(20_000)
    assert many < few / 5  # √100 = 10 in expectation; 40 seeds give ± 11 % a side
    assert many < 0.05


@pytest.mark.parametrize("horizon", range(STEPS + 1))
def test_the_first_ratios_correct_the_first_steps_alone(horizon: int) -> None:
    steps = [MDP.real] * horizon + [MDP.model] * (STEPS - horizon)
    exact = MDP.value(steps, MDP.evaluation)
    for estimator in (trajectory_weighted, per_decision):
        mean, error = mean_and_error(lambda seed, e=estimator: e(*simulated(seed), horizon, self_normalise=False))
        assert abs(mean - exact) < 4 * error


def test_without_ratios_it_is_the_uncorrected_one() -> None:
    log_ratio, rewards = simulated(0)
    for estimator in (trajectory_weighted, per_decision):
        torch.testing.assert_close(estimator(log_ratio, rewards, 0), model_based(rewards))


def test_later_ratios_add_variance() -> None:
    _, whole = mean_and_error(lambda seed: trajectory_weighted(*simulated(seed), self_normalise=False))
    _, own = mean_and_error(lambda seed: per_decision(*simulated(seed), self_normalise=False))
    assert own < whole


@pytest.mark.parametrize("estimator", [trajectory_weighted, per_decision])
def test_importance_sampling_of_policies(estimator: Callable[..., Tensor]) -> None:
    mean, error = mean_and_error(lambda seed: estimator(*observed(seed)[:2], self_normalise=False))
    assert abs(mean - TRUTH) < 4 * error


def values_at(transition: Tensor, states: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    q, v = MDP.values([transition] * STEPS, MDP.evaluation)
    action_values = torch.stack([q[t][states[:, t], actions[:, t]] for t in range(STEPS)], 1)
    return action_values, torch.stack([v[t][states[:, t]] for t in range(STEPS)], 1)


@pytest.mark.parametrize("transition", [MDP.model, MDP.real], ids=["biased model", "exact model"])
def test_doubly_robust_is_unbiased_whatever_the_model(transition: Tensor) -> None:
    def estimate(seed: int) -> Tensor:
        log_ratio, rewards, states, actions = observed(seed)
        return doubly_robust(log_ratio, rewards, *values_at(transition, states, actions), self_normalise=False)

    mean, error = mean_and_error(estimate)
    assert abs(mean - TRUTH) < 4 * error


def test_a_good_model_takes_away_the_variance_of_the_weights() -> None:
    shifted = replace(MDP, reward=MDP.reward + 20.0)  # a constant that only the weights make vary
    values = shifted.values([MDP.real] * STEPS, MDP.evaluation)

    def with_model(seed: int) -> Tensor:
        log_ratio, rewards, states, actions = observed(seed)
        q = torch.stack([values[0][t][states[:, t], actions[:, t]] for t in range(STEPS)], 1)
        v = torch.stack([values[1][t][states[:, t]] for t in range(STEPS)], 1)
        return doubly_robust(log_ratio, rewards + 20.0, q, v, self_normalise=False)

    def without(seed: int) -> Tensor:
        log_ratio, rewards, *_ = observed(seed)
        return per_decision(log_ratio, rewards + 20.0, self_normalise=False)

    mean, error = mean_and_error(with_model)
    assert abs(mean - (TRUTH + 20 * STEPS)) < 4 * error
    assert error < mean_and_error(without)[1] / 5


def test_doubly_robust_needs_no_ratio_where_the_model_is_exact() -> None:
    states, actions, rewards = MDP.rollouts(MDP.real, MDP.evaluation, 50_000, seed=1)
    values = values_at(MDP.real, states[:, :-1], actions)
    estimate = doubly_robust(torch.zeros_like(rewards), rewards, *values)
    assert abs(estimate.item() - TRUTH) < 0.03


def test_effective_sample_size_by_horizon() -> None:
    log_ratio, _ = simulated(3, num=50)
    ess = ess_by_horizon(log_ratio)
    for horizon in range(STEPS + 1):  # Kish's formula, a loop
        weights = [math.exp(sum(row[:horizon])) for row in log_ratio.tolist()]
        assert ess[horizon].item() == pytest.approx(sum(weights) ** 2 / sum(w * w for w in weights))
    assert ess_by_horizon(torch.full((4, 3), -math.inf)).tolist() == [4, 0, 0, 0]


@pytest.mark.parametrize(("min_ess", "expected"), [(1.0, 3), (3.0, 1), (4.0, 0), (5.0, 0)])
def test_the_horizon_that_the_effective_sample_size_allows(min_ess: float, expected: int) -> None:
    # weights after 1, 2, 3 steps: (2, 1, 1, 1), (8, 1, 1, 1), (1, 1, 1, 1): the last one comes too late
    steps = torch.tensor([2.0, 4.0, 1 / 8]).log()
    log_ratio = torch.cat([steps[None], torch.zeros(3, 3)])
    assert horizon_by_ess(log_ratio, min_ess) == expected


def test_steps_beyond_the_horizon_leave_the_weight_as_it_is() -> None:
    log_ratio = torch.tensor([[1.0, 2.0, 4.0]])
    assert cumulative(log_ratio, 2).tolist() == [[1, 3, 3]]
    assert cumulative(log_ratio).tolist() == [[1, 3, 7]]


def test_bootstrap_over_trajectories_has_the_error_of_a_mean() -> None:
    rewards = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    interval = bootstrap_interval(
        lambda rows: model_based(rewards[rows]), 400, repetitions=500, generator=torch.Generator().manual_seed(1)
    )
    expected = rewards.double().sum(1).std().item() / 20
    assert interval.standard_error == pytest.approx(expected, rel=0.12)  # 500 repetitions: ± 3.2 %, four times
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * expected, rel=0.2)


def test_bootstrap_over_members_holds_what_they_disagree_about() -> None:
    members = torch.arange(5).repeat_interleave(100)
    rewards = members[:, None].double().expand(500, 1)  # no spread but between the members 0 … 4
    interval = bootstrap_interval(
        lambda rows: model_based(rewards[rows]),
        500,
        members=members,
        repetitions=2000,
        generator=torch.Generator().manual_seed(1),
    )
    assert interval.standard_error == pytest.approx(math.sqrt(2 / 5), rel=0.08)  # variance of 0 … 4, five drawn


def test_intervals_hold_the_models_value_as_often_as_they_say() -> None:
    biased = MDP.value([MDP.model] * STEPS, MDP.evaluation)
    held = 0
    for seed in range(100):
        rewards = simulated(seed, 200)[1]
        interval = bootstrap_interval(
            lambda rows, rewards=rewards: model_based(rewards[rows]),
            200,
            repetitions=100,
            generator=torch.Generator().manual_seed(seed),
        )
        held += interval.low <= biased <= interval.high
    assert held >= 87  # 95 expected; below 87 has probability 4e-4


@pytest.mark.parametrize(
    ("log_ratio", "rewards", "message"),
    [
        (torch.zeros(3, 4), torch.zeros(3, 5), "expected (3, 5) values"),
        (torch.zeros(3), torch.zeros(3), "expected (trajectories, steps)"),
        (torch.full((2, 2), math.nan), torch.zeros(2, 2), "NaN"),
        (torch.zeros(2, 2), torch.full((2, 2), math.nan), "diverged"),
        (torch.full((2, 2), -math.inf), torch.zeros(2, 2), "all weights are zero"),
    ],
)
def test_bad_input(log_ratio: Tensor, rewards: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        inspect.unwrap(per_decision)(log_ratio, rewards)  # past the tests' own check of shapes


def test_the_spread_is_the_variance_over_other_rewards_with_the_same_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    n, steps = 50, 4
    log_ratio = torch.randn(n, steps, generator=generator, dtype=torch.float64)
    mixing = torch.randn(steps, steps, generator=generator, dtype=torch.float64)

    def rewards(num: int) -> Tensor:
        return torch.randn(num, n, steps, generator=generator, dtype=torch.float64) @ mixing

    spread = torch.stack([spread_of_per_decision(log_ratio, r) for r in rewards(100)]).mean()
    variance = torch.stack([per_decision(log_ratio, r) for r in rewards(4000)]).var()
    # 4,000 draws tell the variance to ±2.2 %, 100 samples of 50 rows the covariance to about 2 %
    assert spread == pytest.approx(variance.item(), rel=0.12)


def test_the_spread_under_equal_weights_of_a_trajectorys_steps() -> None:
    log_ratio, rewards = torch.zeros(30, 3), simulated(0)[1][:30, :3]
    log_ratio[:, 0] = torch.linspace(-2, 2, 30)
    weights = torch.softmax(log_ratio[:, 0].double(), 0)
    expected = rewards.double().sum(1).var() * weights.square().sum()
    torch.testing.assert_close(spread_of_per_decision(log_ratio, rewards), expected)


def test_the_spread_of_a_single_trajectory() -> None:
    with pytest.raises(InputError, match="single trajectory"):
        spread_of_per_decision(torch.zeros(1, 3), torch.zeros(1, 3))


def test_a_horizon_beyond_the_trajectories() -> None:
    with pytest.raises(InputError, match=r"horizon=6 must lie in 0 … 5"):
        estimators.trajectory_weighted(*simulated(0), 6)
