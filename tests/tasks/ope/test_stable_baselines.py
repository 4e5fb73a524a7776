"""Agents of stable-baselines3 in their zips; the oracle is stable-baselines3's own `predict` and its densities."""

import io
import json
import random
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from lfiw.errors import InputError
from lfiw.tasks.ope.environments import Environment, check_policy
from lfiw.tasks.ope.policy import Policy, load_policy

pytestmark = pytest.mark.filterwarnings("ignore")  # of stable-baselines3 and its dependencies

LOW, HIGH = np.array([-2, -0.1], dtype=np.float32), np.array([1, 1 / 3], dtype=np.float32)
SMALL: dict[str, Any] = {"net_arch": [16, 16]}


class Still(gymnasium.Env[Any, Any]):
    """Observations far from zero, and bounds that are not symmetric."""

    observation_space = Box(-np.inf, np.inf, (3,))
    action_space: gymnasium.Space[Any] = Box(LOW, HIGH)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.step(None)[0], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.np_random.normal(5, 3, 3).astype(np.float32), 0.0, False, False, {}


class Choice(Still):
    action_space = Discrete(3)


class Unknown(torch.nn.Tanh):
    pass


def agent(make: Any, environment: Any = None, **options: Any) -> Any:
    off_policy = {} if make in (PPO, A2C) else {"buffer_size": 10}
    options = {"policy_kwargs": SMALL, "seed": 1, "device": "cpu", **off_policy, **options}
    options["policy_kwargs"] = dict(options["policy_kwargs"])  # stable-baselines3 writes into it
    return make("MlpPolicy", environment or Still(), **options)


def observations(size: int = 3) -> torch.Tensor:
    return 8 * torch.randn(100, size, generator=torch.Generator().manual_seed(0))


def acts(policy: Policy, observation: torch.Tensor) -> np.ndarray[Any, Any]:
    return policy.sample(observation, torch.Generator()).clamp(policy.low, policy.high).numpy()


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (SAC, {}),
        (SAC, {"policy_kwargs": {**SMALL, "activation_fn": torch.nn.Tanh}}),
        (SAC, {"policy_kwargs": {"net_arch": []}}),
        (SAC, {"use_sde": True}),
        (SAC, {"use_sde": True, "policy_kwargs": {**SMALL, "clip_mean": 0.0}}),
        (SAC, {"use_sde": True, "policy_kwargs": {**SMALL, "clip_mean": 0.05}}),
        (PPO, {}),
        (PPO, {"policy_kwargs": {"net_arch": {"pi": [8], "vf": [4]}, "activation_fn": torch.nn.SiLU}}),
        (PPO, {"use_sde": True, "policy_kwargs": {**SMALL, "squash_output": True}}),
        (A2C, {"policy_kwargs": {**SMALL, "activation_fn": torch.nn.ELU, "log_std_init": -1.0}}),
        (TD3, {}),
        (DDPG, {"policy_kwargs": {"net_arch": [8], "activation_fn": torch.nn.LeakyReLU}}),
    ],
)
def test_the_mean_action_is_stable_baselines3s(make: Any, options: dict[str, Any], tmp_path: Path) -> None:
    trained = agent(make, **options)
    with torch.no_grad():
        for values in trained.policy.parameters():
            values.mul_(2)  # so that actions reach the bounds
    trained.save(tmp_path / "agent.zip")
    observation = observations()
    expected, _ = trained.predict(observation.numpy(), deterministic=True)
    policy = load_policy(tmp_path / "agent.zip", noise=0.0)
    np.testing.assert_allclose(acts(policy, observation), expected, atol=1e-5)
    policy.save(tmp_path / "again.safetensors")
    np.testing.assert_allclose(acts(load_policy(tmp_path / "again.safetensors", 0.0), observation), expected, atol=1e-5)
    if make in (TD3, DDPG) or options.get("use_sde"):
        for name in ("agent.zip", "again.safetensors"):
            with pytest.raises(InputError, match=r"only the policy's mean .* data\.evaluation_noise=0"):
                load_policy(tmp_path / name)


def test_densities_are_stable_baselines3s(tmp_path: Path) -> None:
    observation = observations()
    ppo, sac = agent(PPO, policy_kwargs={**SMALL, "log_std_init": -0.7}), agent(SAC)
    ppo.save(tmp_path / "ppo.zip")
    sac.save(tmp_path / "sac.zip")
    action = torch.randn(100, 2, generator=torch.Generator().manual_seed(2))
    _, expected, _ = ppo.policy.evaluate_actions(observation, action)
    found = load_policy(tmp_path / "ppo.zip").log_prob(observation, action)
    torch.testing.assert_close(found, expected.double(), rtol=1e-5, atol=1e-5)
    mean, log_std, _ = sac.actor.get_action_dist_params(observation)
    unit = 0.9 * action.tanh()
    expected = sac.actor.action_dist.proba_distribution(mean, log_std).log_prob(unit)
    scale = torch.from_numpy((HIGH - LOW) / 2)
    found = load_policy(tmp_path / "sac.zip").log_prob(observation, torch.from_numpy(LOW) + (unit + 1) * scale)
    torch.testing.assert_close(found, expected.double() - scale.log().sum(), rtol=1e-3, atol=1e-3)  # ε = 1e-6 of theirs


@pytest.mark.parametrize(
    ("make", "options", "named"),
    [
        (DQN, {"environment": Choice()}, "stable_baselines3.dqn.policies"),
        (PPO, {"environment": Choice()}, "action_space is a Discrete"),
        (SAC, {"policy_kwargs": {**SMALL, "activation_fn": Unknown}}, "Unknown.* is not one of relu"),
        (SAC, {"policy_kwargs": {**SMALL, "activation_fn": partial(torch.nn.LeakyReLU, 0.5)}}, "is not one of relu"),
    ],
)
def test_agents_that_are_not_known_are_refused_by_name(
    make: Any, options: dict[str, Any], named: str, tmp_path: Path
) -> None:
    agent(make, **options).save(tmp_path / "agent.zip")
    with pytest.raises(InputError, match=named) as error:
        load_policy(tmp_path / "agent.zip", noise=0.0)
    assert "\n" not in str(error.value)


def test_an_agent_trained_with_vecnormalize_needs_its_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = VecNormalize(DummyVecEnv([Still]), clip_obs=1.5)
    trained = agent(PPO, env, n_steps=64)
    trained.learn(64)
    trained.save(tmp_path / "agent.zip")
    with pytest.raises(
        InputError, match=r"trained with VecNormalize.*numpy\.savez\('agent\.vecnormalize\.npz'"
    ) as error:
        load_policy(tmp_path / "agent.zip")
    advice = str(error.value).partition("run numpy.")[2].partition(", and put")[0]
    monkeypatch.chdir(tmp_path)
    eval(advice, {"savez": np.savez, "env": env})
    policy = load_policy(tmp_path / "agent.zip", noise=0.0)
    observation = observations()
    expected, _ = trained.predict(env.normalize_obs(observation.numpy()), deterministic=True)
    np.testing.assert_allclose(acts(policy, observation), expected, atol=1e-5)
    for wrong in ({"mean": np.zeros(3)}, {"mean": np.zeros(2), "var": np.ones(2), "epsilon": 0.0, "clip": 1.0}):
        np.savez("agent.vecnormalize.npz", **wrong)
        with pytest.raises(InputError, match=r"agent\.vecnormalize\.npz"):
            load_policy(tmp_path / "agent.zip")


def test_statistics_beside_an_off_policy_agent_are_not_overlooked(tmp_path: Path) -> None:
    agent(SAC).save(tmp_path / "agent.zip")
    (tmp_path / "vecnormalize.pkl").touch()
    with pytest.raises(InputError, match=r"vecnormalize\.pkl beside it"):
        load_policy(tmp_path / "agent.zip")


def test_other_bounds_than_the_environments_are_refused(tmp_path: Path) -> None:
    class Wide(Still):
        observation_space = Box(-np.inf, np.inf, (8,))
        action_space = Box(-2, 2, (2,))

    agent(SAC, Wide()).save(tmp_path / "agent.zip")
    with pytest.raises(InputError, match=r"action 0 lies in -2 … 2, Swimmer-v5's in -1 … 1"):
        check_policy(load_policy(tmp_path / "agent.zip"), Environment("Swimmer-v5"))


JUNK: list[Any] = [
    None,
    7,
    -1.5,
    "x",
    [],
    {},
    [None],
    {":type:": 3},
    float("nan"),
    True,
    "[-inf inf]",
    "[[",
    "[1. ...]",
]


def change_description(data: dict[str, Any], draw: random.Random) -> None:
    """One field of the description, or one within it, is dropped or replaced."""
    names = ["policy_class", "observation_space", "action_space", "policy_kwargs", "use_sde", "_last_original_obs"]
    where, name = data, draw.choice(names)
    if isinstance(data[name], dict) and draw.random() < 0.7:
        where = data[name]
        name = draw.choice([key for key in where if key != ":serialized:"])
    if draw.random() < 0.3:
        del where[name]
    else:
        where[name] = draw.choice(JUNK)


def change_weights(state: dict[str, torch.Tensor], draw: random.Random) -> None:
    """One of the actor's arrays gets another type, shape, value or name, or goes."""
    name = draw.choice([name for name in state if not name.startswith("critic") and "value_net" not in name])
    changes: list[Callable[[torch.Tensor], torch.Tensor]] = [
        lambda values: values.double(),
        lambda values: values.half(),
        lambda values: values.long(),
        lambda values: values.to_sparse(),
        lambda values: values[None],
        lambda values: values[:-1],
        lambda values: torch.full_like(values, torch.nan),
    ]
    values = state.pop(name)
    if draw.random() < 0.8:
        key = name if draw.random() < 0.8 else name + "2"
        state[key] = draw.choice(changes)(values)


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("make", [SAC, PPO])
def test_odd_zips_act_as_stable_baselines3_or_are_refused(make: Any, count: int, tmp_path: Path) -> None:
    trained = agent(make)
    trained.save(tmp_path / "agent.zip")
    with zipfile.ZipFile(tmp_path / "agent.zip") as archive:
        text, original = archive.read("data"), trained.policy.state_dict()
    observation = observations()
    refused = 0
    for seed in range(count):
        draw = random.Random(seed)
        data, state = json.loads(text), dict(original)
        for value in data.values():
            if isinstance(value, dict) and ":serialized:" in value:
                value[":serialized:"] = "no pickle"  # which stable-baselines3 would load
        change_description(data, draw) if draw.random() < 0.5 else change_weights(state, draw)
        stream = io.BytesIO()
        torch.save(state, stream)
        with zipfile.ZipFile(tmp_path / "odd.zip", "w") as archive:
            archive.writestr("data", json.dumps(data))
            archive.writestr("policy.pth", stream.getvalue())
        try:
            policy = load_policy(tmp_path / "odd.zip", noise=0.0)
        except InputError:
            refused += 1
            continue
        trained.policy.load_state_dict(state)
        expected, _ = trained.predict(observation.numpy(), deterministic=True)
        trained.policy.load_state_dict(original)
        if np.allclose(policy.low, LOW) and np.allclose(policy.high, HIGH):  # others are the environment's to refuse
            np.testing.assert_allclose(acts(policy, observation), expected, atol=1e-5, err_msg=str(seed))
    assert 0.3 * count < refused < count
