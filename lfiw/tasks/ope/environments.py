"""MuJoCo's environments, and the states that end their episodes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lfiw.errors import InputError, first_line
from lfiw.tasks.ope.gaussian_policy import GaussianPolicy

Terminal = Callable[[Tensor], Tensor]


def never(observation: Float[Tensor, "n d"]) -> Bool[Tensor, " n"]:
    return torch.zeros(len(observation), dtype=torch.bool)


def hopper(observation: Float[Tensor, "n d"]) -> Bool[Tensor, " n"]:
    """Ends if the torso is not above 0.7, tilts by 0.2 or more, or a value is beyond 100."""
    height, angle = observation[:, 0], observation[:, 1]
    return ~((height > 0.7) & (angle.abs() < 0.2) & (observation[:, 1:].abs() < 100).all(1))


def walker(observation: Float[Tensor, "n d"]) -> Bool[Tensor, " n"]:
    """Ends if the torso is outside 0.8 … 2, or tilts by 1 or more."""
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
    """Returns the function from observations (n, d) to whether they end an episode (n,).

    Raises:
        InputError: the environment's terminal states are not known.
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
    """An environment of gymnasium, its horizon and its noise.

    Args:
        name: in gymnasium's registry, such as HalfCheetah-v5.
        horizon: steps after which an episode ends.
        noise: σ of the transitions' noise (`with_process_noise`). If 0, MuJoCo as it is, deterministic.
    """

    name: str
    horizon: int = 100
    noise: float = 0.0

    def make(self) -> "gymnasium.Env[Any, Any]":
        """Makes a new headless instance.

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
    """Keeps MuJoCo from writing a log file into the working directory for warnings about its own assets."""
    import mujoco

    mujoco.set_mju_user_warning(lambda message: None)


def check_policy(policy: GaussianPolicy, environment: Environment) -> None:
    """Raises InputError unless the policy's observations, actions and bounds match the environment's."""
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
    """Adds Gaussian noise after each step: σ to velocities, σ·dt to positions, and σ to the reward.

    The reward and all coordinates of the state get noise; otherwise (r, s′) given (s, a) would lie on a surface and
    have no density, as with noise on the action alone. Positions are moved as MuJoCo integrates them, so that
    quaternions keep length 1. The reward's noise has mean zero and does not change expected returns.
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
