"""Terminal states of MuJoCo's environments as functions of observations: a learned model does not know them."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lfiw.errors import InputError

Terminal = Callable[[Tensor], Tensor]


def never(observation: Float[Tensor, "n d"]) -> Bool[Tensor, " n"]:
    return torch.zeros(len(observation), dtype=torch.bool)


def hopper(observation: Float[Tensor, "n d"]) -> Bool[Tensor, " n"]:
    """Torso not above 0.7, tilted by 0.2 or more, or a value beyond 100."""
    height, angle = observation[:, 0], observation[:, 1]
    return ~((height > 0.7) & (angle.abs() < 0.2) & (observation[:, 1:].abs() < 100).all(1))


def walker(observation: Float[Tensor, "n d"]) -> Bool[Tensor, " n"]:
    """Torso outside of 0.8 … 2, or tilted by 1 or more."""
    height, angle = observation[:, 0], observation[:, 1]
    return ~((height > 0.8) & (height < 2.0) & (angle.abs() < 1.0))


TERMINAL: dict[str, Terminal] = {
    "Swimmer-v5": never,
    "HalfCheetah-v5": never,
    "HumanoidStandup-v5": never,
    "Hopper-v5": hopper,
    "Walker2d-v5": walker,
}


def terminal_states(environment: str) -> Terminal:
    """(n, d) observations → (n,) whether they end an episode.

    Raises:
        InputError: the environment's terminal states are not known here.
    """
    if environment not in TERMINAL:
        raise InputError(
            f"env={environment}: its terminal states are not known, and a simulation has to respect them; known: "
            f"{', '.join(TERMINAL)} (lfiw/ope/termination.py)"
        )
    return TERMINAL[environment]
