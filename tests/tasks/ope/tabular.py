"""A small decision process with a known transition, a biased model of it, and values by dynamic programming."""

from dataclasses import dataclass

import torch
from torch import Tensor

STATES, ACTIONS, STEPS = 3, 2, 5


def rows_summing_to_one(*shape: int, generator: torch.Generator, low: float = 0.2) -> Tensor:
    weights = low + torch.rand(*shape, generator=generator, dtype=torch.float64)
    return weights / weights.sum(-1, keepdim=True)


@dataclass(frozen=True)
class Tabular:
    """Transitions P[s, a, s′], the model's, two policies π[s, a], rewards r[s, a, s′], first states."""

    real: Tensor
    model: Tensor
    behaviour: Tensor
    evaluation: Tensor
    reward: Tensor
    start: Tensor

    def value(self, transitions: list[Tensor], policy: Tensor) -> float:
        """Exact return where step t moves by transitions[t]: backward induction, one state and action at a time."""
        return float(self.start @ self.values(transitions, policy)[1][0])

    def values(self, transitions: list[Tensor], policy: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """q_t[s, a] and v_t[s] for every step."""
        q: list[Tensor] = []
        v = [torch.zeros(STATES, dtype=torch.float64)]
        for transition in reversed(transitions):
            now = torch.zeros(STATES, ACTIONS, dtype=torch.float64)
            for s in range(STATES):
                for a in range(ACTIONS):
                    for next_s in range(STATES):
                        now[s, a] += transition[s, a, next_s] * (self.reward[s, a, next_s] + v[0][next_s])
            q.insert(0, now)
            v.insert(0, (policy * now).sum(1))
        return q, v[:-1]

    def rollouts(self, transition: Tensor, policy: Tensor, num: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """States (num, STEPS + 1), actions and rewards (num, STEPS)."""
        generator = torch.Generator().manual_seed(seed)
        state = torch.multinomial(self.start, num, replacement=True, generator=generator)
        states, actions, rewards = [state], [], []
        for _ in range(STEPS):
            action = torch.multinomial(policy[state], 1, generator=generator).squeeze(1)
            following = torch.multinomial(transition[state, action], 1, generator=generator).squeeze(1)
            rewards.append(self.reward[state, action, following])
            actions.append(action)
            states.append(state := following)
        return torch.stack(states, 1), torch.stack(actions, 1), torch.stack(rewards, 1)


def tabular(seed: int = 0) -> Tabular:
    generator = torch.Generator().manual_seed(seed)
    return Tabular(
        real=rows_summing_to_one(STATES, ACTIONS, STATES, generator=generator),
        model=rows_summing_to_one(STATES, ACTIONS, STATES, generator=generator),
        behaviour=rows_summing_to_one(STATES, ACTIONS, generator=generator),
        evaluation=rows_summing_to_one(STATES, ACTIONS, generator=generator),
        reward=torch.randn(STATES, ACTIONS, STATES, generator=generator, dtype=torch.float64),
        start=rows_summing_to_one(STATES, generator=generator),
    )
