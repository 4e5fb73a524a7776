"""Estimators without a learned ratio: importance sampling, fitted Q evaluation, doubly robust."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lfiw.errors import InputError
from lfiw.schemas import BASELINES
from lfiw.tasks.ope.candidates import OF_EPISODES, OF_STEPS, Estimate, estimated
from lfiw.tasks.ope.dynamics import DynamicsModel
from lfiw.tasks.ope.environments import Terminal
from lfiw.tasks.ope.estimators import doubly_robust, per_decision, trajectory_weighted
from lfiw.tasks.ope.gaussian_policy import GaussianPolicy
from lfiw.tasks.ope.rollouts import Rollouts
from lfiw.tasks.ope.simulation import model_values


def fitted_q_evaluation(
    observation: Float[Tensor, "n d"],
    action: Float[Tensor, "n a"],
    reward: Float[Tensor, " n"],
    next_observation: Float[Tensor, "n d"],
    terminated: Bool[Tensor, " n"],
    start: Float[Tensor, "m d"],
    draw_actions: Callable[[Tensor], Tensor],
    horizon: int,
    *,
    generator: torch.Generator,
    features: int = 300,
    ridge: float = 1e-3,
    draws: int = 4,
) -> Float[Tensor, ""]:
    """Estimates the mean of v_0 over first states by backward regression (Le, Voloshin & Yue, ICML 2019); float64.

    q_t(s, a) = φ(s, a)·θ_t is the ridge regression of r + v_{t+1}(s′) over all transitions, where v is q's mean over
    the policy's actions, and v_T = 0; φ are the standardised (s, a), a constant and random rectified units. Targets
    are clipped to what the largest and smallest reward allow in the remaining steps.

    Args:
        draw_actions: observations → actions of the evaluated policy, as the environment uses them.
        ridge: relative to the mean square of the features.
        draws: actions per state for the mean over the policy.

    Raises:
        InputError: there is no transition or no step.
    """
    if not len(reward) or horizon < 1 or not len(start):
        raise InputError(f"fitted Q evaluation: {len(reward)} transitions, {len(start)} first states, {horizon} steps")
    inputs = torch.cat([observation, action], dim=1).double()
    std, mean = torch.std_mean(inputs, 0)
    std = torch.where(std > 0, std, 1.0)
    directions = torch.randn(inputs.shape[1], features, generator=generator, dtype=torch.float64)
    directions /= directions.norm(dim=0)
    offsets = torch.randn(features, generator=generator, dtype=torch.float64)

    def phi(states: Tensor, actions: Tensor) -> Tensor:
        x = (torch.cat([states, actions], dim=1).double() - mean) / std
        return torch.cat([torch.relu(x @ directions + offsets), x, torch.ones(len(x), 1)], dim=1)

    def phi_of_policy(states: Tensor) -> Tensor:
        return torch.stack([phi(states, draw_actions(states)) for _ in range(draws)]).mean(0)

    at, after = phi(observation, action), phi_of_policy(next_observation) * ~terminated[:, None]
    gram = at.T @ at
    factor = torch.linalg.cholesky(gram + ridge * gram.diagonal().mean() * torch.eye(len(gram)))
    rewards, low, high = reward.double(), reward.double().min().clamp(max=0), reward.double().max().clamp(min=0)
    theta = torch.zeros(at.shape[1], dtype=torch.float64)
    for left in range(1, horizon + 1):
        target = (rewards + after @ theta).clamp(left * low, left * high)
        theta = torch.cholesky_solve((at.T @ target)[:, None], factor).squeeze(1)
    return (phi_of_policy(start) @ theta).mean()


IMPORTANCE_SAMPLING, DOUBLY_ROBUST, FITTED_Q = BASELINES
WITHOUT_DENSITIES = f"task.baselines=[{FITTED_Q}]"


def check_baselines(names: Sequence[str], behaviour: GaussianPolicy, evaluation: GaussianPolicy) -> None:
    """Raises InputError for a baseline that needs densities which a policy does not have."""
    for name in names:
        if name == FITTED_Q:
            continue
        for role, policy in (("behaviour", behaviour), ("evaluation", evaluation)):
            if not policy.noise:
                raise InputError(
                    f"task.baselines: {name} needs policies with densities, and data.{role}_noise=0 leaves none; give "
                    f"it some noise, or {WITHOUT_DENSITIES}"
                )


def policy_log_ratio(data: Rollouts, behaviour: GaussianPolicy, evaluation: GaussianPolicy) -> Float[Tensor, "n t"]:
    """Computes log π_e(a|s) − log π_b(a|s) per step, of clipped actions; −∞ if π_e never takes the action."""
    states, actions = data.observation[data.valid], data.action[data.valid]
    of_evaluation, of_behaviour = (
        policy.log_density(policy.gaussian(states), actions) for policy in (evaluation, behaviour)
    )
    log_ratio = of_evaluation.new_zeros(data.valid.shape)
    log_ratio[data.valid] = of_evaluation - of_behaviour
    return log_ratio


def possible_episodes(
    data: Rollouts, behaviour: GaussianPolicy, evaluation: GaussianPolicy
) -> tuple[Float[Tensor, "n t"], Float[Tensor, "n t"]]:
    """Returns log-ratios and rewards of the episodes that the evaluation policy could have made; perhaps none.

    Zero weights do not change a self-normalised mean, but would leave some bootstrap samples without weight.
    """
    log_ratio = policy_log_ratio(data, behaviour, evaluation)
    possible = ~torch.isneginf(log_ratio.sum(1))
    return log_ratio[possible], data.reward[possible]


def importance_sampling(
    data: Rollouts, behaviour: GaussianPolicy, evaluation: GaussianPolicy, repetitions: int, generator: torch.Generator
) -> dict[str, Estimate]:
    """Estimates by weighted importance sampling, per trajectory and per decision; empty if all weights are zero."""
    log_ratio, rewards = possible_episodes(data, behaviour, evaluation)
    if not len(rewards):
        return {}
    return {
        name: estimated(partial(of_rows, function, log_ratio, rewards), len(rewards), None, repetitions, generator)
        for name, function in {OF_EPISODES: trajectory_weighted, OF_STEPS: per_decision}.items()
    }


def of_rows(
    function: Callable[[Tensor, Tensor], Tensor], log_ratio: Tensor, rewards: Tensor, rows: Tensor
) -> Float[Tensor, ""]:
    """Computes an estimate from some of the trajectories."""
    return function(log_ratio[rows], rewards[rows])


def doubly_robust_by_model(
    data: Rollouts,
    model: DynamicsModel,
    behaviour: GaussianPolicy,
    evaluation: GaussianPolicy,
    terminal: Terminal,
    repetitions: int,
    generator: torch.Generator,
) -> dict[str, Estimate]:
    """Estimates by weighted doubly robust, on episodes that did not train the model, its control variate."""
    log_ratio = policy_log_ratio(data, behaviour, evaluation)
    if torch.isneginf(log_ratio.sum(1)).any():
        return {}
    actions = data.action.clamp(behaviour.low, behaviour.high)
    values = model_values(model, evaluation, data.observation, actions, terminal, generator)
    q, v = (of_steps * data.valid for of_steps in values)
    estimate = estimated(
        lambda r: doubly_robust(log_ratio[r], data.reward[r], q[r], v[r]), len(data), None, repetitions, generator
    )
    return {"doubly robust": estimate}


def fitted_q(
    data: Rollouts, behaviour: GaussianPolicy, evaluation: GaussianPolicy, horizon: int, generator: torch.Generator
) -> dict[str, Estimate]:
    """Estimates by fitted Q evaluation on all episodes, without an interval."""

    def draw_actions(states: Tensor) -> Tensor:
        return evaluation.sample(states, generator).clamp(evaluation.low, evaluation.high)

    took_place = data.valid
    value = fitted_q_evaluation(
        data.observation[took_place],
        data.action[took_place].clamp(behaviour.low, behaviour.high),
        data.reward[took_place],
        data.next_observation[took_place],
        data.terminated[took_place],
        data.observation[:, 0],
        draw_actions,
        horizon,
        generator=generator,
    )
    return {"fitted Q": Estimate(value.item())}
