"""Estimates of a policy's return from real episodes of another: with the policies' densities, or by fitted Q."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from lfiw.errors import InputError
from lfiw.modules.dynamics import DynamicsModel
from lfiw.ope.candidates import Estimate, estimated
from lfiw.ope.estimators import doubly_robust, per_decision, trajectory_weighted
from lfiw.ope.fitted_q import fitted_q_evaluation
from lfiw.ope.policy import Policy
from lfiw.ope.rollouts import Rollouts, behaviour_log_prob
from lfiw.ope.simulation import model_values
from lfiw.ope.termination import Terminal

IMPORTANCE_SAMPLING, DOUBLY_ROBUST, FITTED_Q = "importance_sampling", "doubly_robust", "fitted_q"
BASELINES = (IMPORTANCE_SAMPLING, DOUBLY_ROBUST, FITTED_Q)
WITHOUT_DENSITIES = f"task.baselines=[{FITTED_Q}]"


def check_baselines(names: Sequence[str], data: Rollouts, evaluation: Policy) -> None:
    """Raises InputError for a baseline that does not exist, or needs densities that are not there."""
    for name in names:
        if name not in BASELINES:
            raise InputError(f"task.baselines: {name!r} is not one of {', '.join(BASELINES)}")
        if name == FITTED_Q:
            continue
        if data.log_prob is None:
            raise InputError(
                f"task.baselines: {name} needs the log-density of each action under the behaviour policy, and the "
                f"rollouts have no column log_prob: roll out again (tools/cache_rollouts.py), or {WITHOUT_DENSITIES}"
            )
        if not evaluation.noise:
            raise InputError(
                f"task.baselines: {name} needs an evaluation policy with a density, and data.evaluation_noise=0 has "
                f"none: give it some noise, or {WITHOUT_DENSITIES}"
            )


def policy_log_ratio(data: Rollouts, evaluation: Policy) -> Float[Tensor, "n t"]:
    """log π_e(a|s) − log π_b(a|s) of each step; −∞ where the evaluation policy never acts so."""
    n, t, _ = data.observation.shape
    of_evaluation = evaluation.log_prob(data.observation.flatten(0, 1), data.action.flatten(0, 1)).view(n, t)
    return torch.where(data.valid, of_evaluation - behaviour_log_prob(data), 0.0)


def importance_sampling(
    data: Rollouts, evaluation: Policy, repetitions: int, generator: torch.Generator
) -> dict[str, Estimate]:
    """Weighted importance sampling, of whole trajectories and per decision; none where all weights are zero."""
    log_ratio = policy_log_ratio(data, evaluation)
    possible = (~torch.isneginf(log_ratio.sum(1))).nonzero().squeeze(1)
    if not len(possible):
        return {}
    # weights of zero change no self-normalised mean of trajectories, and would leave some bootstrap samples empty
    log_ratio, rewards = log_ratio[possible], data.reward[possible]
    functions = {"importance sampling": trajectory_weighted, "importance sampling, per-decision": per_decision}
    return {
        name: estimated(partial(of_rows, function, log_ratio, rewards), len(possible), None, repetitions, generator)
        for name, function in functions.items()
    }


def of_rows(
    function: Callable[[Tensor, Tensor], Tensor], log_ratio: Tensor, rewards: Tensor, rows: Tensor
) -> Float[Tensor, ""]:
    """An estimate from some of the trajectories."""
    return function(log_ratio[rows], rewards[rows])


def doubly_robust_by_model(
    data: Rollouts,
    model: DynamicsModel,
    behaviour: Policy,
    evaluation: Policy,
    terminal: Terminal,
    repetitions: int,
    generator: torch.Generator,
) -> dict[str, Estimate]:
    """Weighted doubly robust on episodes that did not train the model, which is the control variate."""
    log_ratio = policy_log_ratio(data, evaluation)
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
    data: Rollouts, behaviour: Policy, evaluation: Policy, horizon: int, generator: torch.Generator
) -> dict[str, Estimate]:
    """Fitted Q evaluation on all episodes; no interval."""

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
