"""The environments of MuJoCo, and when an episode of each ends."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lfiw.errors import InputError, first_line
from lfiw.tasks.ope.policy import Policy

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
            f"{', '.join(TERMINAL)} (lfiw/tasks/ope/environments.py)"
        )
    return TERMINAL[environment]


if TYPE_CHECKING:
    import gymnasium

INSTALL = "pip install -e '.[ope]'"


@dataclass(frozen=True)
class Environment:
    """What is evaluated in.

    Args:
        name: in gymnasium's registry, as HalfCheetah-v5.
        horizon: steps after which an episode ends.
        noise: σ of the noise in the transition: see `with_process_noise`; 0: MuJoCo as it is, deterministic.
    """

    name: str
    horizon: int = 100
    noise: float = 0.0

    def make(self) -> "gymnasium.Env[Any, Any]":
        """A new instance, headless.

        Raises:
            InputError: gymnasium or MuJoCo is not installed, or there is no such environment.
        """
        if self.horizon < 1 or not self.noise >= 0:
            raise InputError(f"horizon={self.horizon} must be at least 1, noise={self.noise} at least 0")
        try:
            import gymnasium
            from gymnasium.error import DependencyNotInstalled, Error
        except ImportError:
            raise InputError(f"{self.name} needs gymnasium, which is not installed: {INSTALL}") from None
        try:
            quiet_mujoco()
            environment = gymnasium.make(self.name, max_episode_steps=self.horizon)
        except (ImportError, DependencyNotInstalled) as error:
            raise InputError(f"{self.name} is not installed ({first_line(error)}): {INSTALL}") from None
        except Error as error:
            raise InputError(
                f"env={self.name}: {first_line(error)} (Swimmer-v5, HalfCheetah-v5, HumanoidStandup-v5, …)"
            ) from None
        return with_process_noise(environment, self.noise) if self.noise else environment


def quiet_mujoco() -> None:
    """Keep MuJoCo from writing a log file into the working directory for each warning about its own assets."""
    import mujoco

    mujoco.set_mju_user_warning(lambda message: None)


def check_policy(policy: Policy, environment: Environment) -> None:
    """Raises InputError unless the policy's observations and actions, and their bounds, are the environment's."""
    from gymnasium.spaces import Box

    instance = environment.make()
    observation, action = instance.observation_space, instance.action_space
    instance.close()
    for space in (observation, action):
        if not isinstance(space, Box) or len(space.shape) != 1:
            raise InputError(
                f"env={environment.name}: it has a space {type(space).__name__} of shape {space.shape}, expected "
                "observations and actions in a Box of one dimension: give another environment"
            )
    bounds: Any = action
    sizes = (observation.shape or ())[0], bounds.shape[0]
    if (policy.sizes[0], policy.sizes[-1]) != sizes:
        raise InputError(
            f"the policy takes {policy.sizes[0]} observations and gives {policy.sizes[-1]} actions, {environment.name} "
            f"has {sizes[0]} and {sizes[1]}: give a policy that was trained in it"
        )
    low, high = policy.low.numpy(), policy.high.numpy()
    other = ~(np.isclose(low, bounds.low, rtol=1e-6) & np.isclose(high, bounds.high, rtol=1e-6))
    if other.any():
        i = int(other.argmax())
        raise InputError(
            f"the policy's action {i} lies in {low[i]:g} … {high[i]:g}, {environment.name}'s in {bounds.low[i]:g} … "
            f"{bounds.high[i]:g}: give a policy that was trained in it, without a wrapper that rescales actions"
        )


def with_process_noise(environment: "gymnasium.Env[Any, Any]", sigma: float) -> "gymnasium.Env[Any, Any]":
    """Gaussian noise on the state after each step: σ on velocities, σ·dt on positions, and σ on the reward.

    All coordinates of the state and the reward get noise, for otherwise (r, s′) given (s, a) lies on a surface and has
    no density: noise on the action alone has as few dimensions as the action. Positions are moved as MuJoCo integrates
    them, so that quaternions stay of length 1. The reward's noise has mean zero and leaves returns as they are.
    """
    import gymnasium
    import mujoco

    class ProcessNoise(gymnasium.Wrapper[Any, Any, Any, Any]):
        def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
            _, reward, terminated, truncated, info = self.env.step(action)
            inner: Any = self.env.unwrapped
            draw = inner.np_random.standard_normal
            position = inner.data.qpos.copy()
            mujoco.mj_integratePos(inner.model, position, sigma * draw(inner.model.nv), inner.dt)
            inner.set_state(position, inner.data.qvel + sigma * draw(inner.model.nv))
            return inner._get_obs(), float(reward) + sigma * draw(), terminated, truncated, info

    return ProcessNoise(environment)
