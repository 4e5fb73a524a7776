"""Fitted Q evaluation: the return of a policy from transitions of another, without a model of the environment."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lfiw.errors import InputError


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
    """Mean of v_0 over first states, by backward regression (Le, Voloshin & Yue, ICML 2019); float64.

    q_t(s, a) = φ(s, a)·θ_t is the ridge regression of r + v_{t+1}(s′) over all transitions, where v is q's mean over
    the policy's actions, and v_T = 0; φ are the standardised (s, a), a constant and random rectified units. Targets
    are cut to what the largest and the smallest reward allow in the steps that are left.

    Args:
        draw_actions: observations → actions of the policy that is evaluated, as the environment uses them.
        ridge: relative to the mean square of the features.
        draws: actions a state for the mean over the policy.

    Raises:
        InputError: no transition, or no step.
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
