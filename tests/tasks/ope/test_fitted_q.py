"""Fitted Q evaluation against the exact value of a small decision process."""

import pytest
import torch
from tasks.ope.tabular import ACTIONS, STATES, STEPS, tabular
from torch import Tensor
from torch.nn.functional import one_hot

from lfiw.errors import InputError
from lfiw.tasks.ope.baselines import fitted_q_evaluation

MDP = tabular()


def estimate(num: int, seed: int, horizon: int = STEPS) -> float:
    """Of the evaluation policy, from the behaviour policy's transitions; states and actions one-hot."""
    states, actions, rewards = MDP.rollouts(MDP.real, MDP.behaviour, num, seed)
    generator = torch.Generator().manual_seed(seed)

    def draw_actions(observation: Tensor) -> Tensor:
        drawn = torch.multinomial(MDP.evaluation[observation.argmax(1)], 1, generator=generator).squeeze(1)
        return one_hot(drawn, ACTIONS).float()

    seen = one_hot(states, STATES).float()
    return fitted_q_evaluation(
        seen[:, :-1].flatten(0, 1),
        one_hot(actions, ACTIONS).float().flatten(0, 1),
        rewards.flatten(),
        seen[:, 1:].flatten(0, 1),
        torch.zeros(num * STEPS, dtype=torch.bool),
        seen[:, 0],
        draw_actions,
        horizon,
        generator=generator,
        features=50,
        ridge=1e-6,
    ).item()


def test_it_converges_to_the_value_of_the_other_policy() -> None:
    truth = MDP.value([MDP.real] * STEPS, MDP.evaluation)
    behaviour = MDP.value([MDP.real] * STEPS, MDP.behaviour)
    errors = torch.tensor([estimate(4000, seed) - truth for seed in range(10)])
    assert abs(behaviour - truth) > 0.3
    assert errors.abs().mean() < 0.06
    assert abs(errors.mean()) < 4 * errors.std() / 10**0.5 + 0.01


def test_nothing_follows_a_terminal_state() -> None:
    n = 200
    value = fitted_q_evaluation(
        torch.zeros(n, 1),
        torch.zeros(n, 1),
        torch.ones(n),
        torch.zeros(n, 1),
        torch.ones(n, dtype=torch.bool),
        torch.zeros(1, 1),
        lambda states: torch.zeros(len(states), 1),
        50,
        generator=torch.Generator().manual_seed(0),
    )
    assert value.item() == pytest.approx(1.0, rel=0.01)  # the ridge pulls a little to zero


def test_no_transition() -> None:
    none = torch.zeros(0, 1)
    with pytest.raises(InputError, match="0 transitions"):
        fitted_q_evaluation(
            none,
            none,
            torch.zeros(0),
            none,
            torch.zeros(0, dtype=torch.bool),
            torch.zeros(1, 1),
            lambda states: states,
            3,
            generator=torch.Generator(),
        )
