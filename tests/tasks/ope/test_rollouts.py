"""Rollouts in real environments, and as rows of a table."""

import builtins
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lfiw.data.table import TensorTable
from lfiw.errors import InputError
from lfiw.tasks.ope.environments import TERMINAL, Environment, check_policy, terminal_states
from lfiw.tasks.ope.policy import Policy
from lfiw.tasks.ope.rollouts import (
    Rollouts,
    concatenated,
    from_table,
    kept_rollouts,
    roll_out,
    roll_out_block,
)

SIZES = {"Swimmer-v5": (8, 2), "HalfCheetah-v5": (17, 6), "Hopper-v5": (11, 3), "Walker2d-v5": (17, 6)}


def untrained(name: str) -> Policy:
    observations, actions = SIZES[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Policy((observations, 8, actions))


@pytest.fixture(scope="module")
def hopper() -> Rollouts:
    """Untrained, it falls before 60 steps are over."""
    return roll_out_block(Environment("Hopper-v5", 60), untrained("Hopper-v5"), 20, seed=1)


def test_replaying_the_actions_gives_the_same_episode(hopper: Rollouts) -> None:
    from lfiw.data.batches import mix_seeds

    environment = Environment("Hopper-v5", 60).make()
    observation, _ = environment.reset(seed=mix_seeds(1, 3) % 2**32)
    for t in range(60):
        np.testing.assert_allclose(hopper.observation[3, t], observation, rtol=1e-6)
        action = hopper.action[3, t].numpy().clip(-1, 1)
        observation, reward, terminated, _, _ = environment.step(action)
        assert hopper.reward[3, t] == pytest.approx(reward, rel=1e-5)
        assert bool(hopper.terminated[3, t]) == terminated
        if terminated:
            break
    assert not hopper.valid[3, t + 1 :].any()
    assert not hopper.reward[3, t + 1 :].any()


def test_the_policys_density_is_recorded(hopper: Rollouts) -> None:
    expected = untrained("Hopper-v5").log_prob(hopper.observation[2], hopper.action[2])
    assert hopper.log_prob is not None
    torch.testing.assert_close(hopper.log_prob[2], expected)


def test_a_table_holds_the_same_episodes(hopper: Rollouts) -> None:
    again = from_table(TensorTable(hopper.columns()), 60)
    assert torch.equal(again.valid, hopper.valid)
    for name in ("observation", "action", "reward", "next_observation", "log_prob"):
        assert torch.equal(getattr(again, name)[hopper.valid], getattr(hopper, name)[hopper.valid])
    assert torch.equal(again.returns(), hopper.returns())


def test_what_comes_out_does_not_depend_on_the_workers() -> None:
    swimmer, policy = Environment("Swimmer-v5", 5), untrained("Swimmer-v5")
    one, two = (concatenated(list(roll_out(swimmer, policy, 60, seed=4, workers=w))) for w in (1, 2))
    assert len(one) == 60
    assert torch.equal(one.reward, two.reward)
    assert not torch.equal(one.reward[:10], one.reward[50:])  # blocks have seeds of their own


def test_rollouts_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swimmer, policy = Environment("Swimmer-v5", 5), untrained("Swimmer-v5")
    first = kept_rollouts(tmp_path, swimmer, policy, 3, 0, 1)
    monkeypatch.setattr("lfiw.tasks.ope.rollouts.roll_out", lambda *_, **__: pytest.fail("rolled out again"))
    again = kept_rollouts(tmp_path, swimmer, policy, 3, 0, 1)
    assert first.path == again.path
    assert from_table(again, 5).reward.shape == (3, 5)
    with pytest.raises(pytest.fail.Exception):
        kept_rollouts(tmp_path, swimmer, policy, 3, 1, 1)


def test_two_runs_roll_out_the_same_episodes_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swimmer, policy = Environment("Swimmer-v5", 5), untrained("Swimmer-v5")

    def while_another_run_does(*arguments: Any, **options: Any) -> Iterator[Rollouts]:
        monkeypatch.setattr("lfiw.tasks.ope.rollouts.roll_out", roll_out)
        yield from roll_out(*arguments, **options)
        kept_rollouts(tmp_path, swimmer, policy, 3, 0, 1)

    monkeypatch.setattr("lfiw.tasks.ope.rollouts.roll_out", while_another_run_does)
    kept = kept_rollouts(tmp_path, swimmer, policy, 3, 0, 1)
    assert from_table(kept, 5).reward.shape == (3, 5)
    assert [entry.name for entry in tmp_path.iterdir()] == [kept.path.name]


def changed(hopper: Rollouts, **columns: Any) -> TensorTable:
    return TensorTable({**hopper.columns(), **columns})


def test_episodes_that_were_cut_off(hopper: Rollouts) -> None:
    with pytest.raises(InputError, match=r"episodes of unequal length: episode \d+ has \d+ steps, expected 40"):
        from_table(TensorTable(hopper.columns()), 40) if hopper.valid[:, 40].any() else None
    columns = hopper.columns()
    with pytest.raises(InputError, match="unequal length"):
        from_table(changed(hopper, terminated=torch.zeros_like(columns["terminated"])), 60)


def test_tables_that_hold_no_whole_episodes(hopper: Rollouts) -> None:
    columns = hopper.columns()
    with pytest.raises(InputError, match="no column observation"):
        from_table(TensorTable({"vector": torch.zeros(3, 2)}), 60)
    with pytest.raises(InputError, match="are not 0, 1, 2"):
        from_table(changed(hopper, step=columns["step"] + 1), 60)
    with pytest.raises(InputError, match="do not stand together"):
        from_table(changed(hopper, episode=columns["step"]), 60)


def logged(num: int = 6, steps: int = 5) -> dict[str, Tensor]:
    """Episodes as another program's log might hold them."""
    made = torch.Generator().manual_seed(0)
    state, following = torch.randn(2, num * steps, 3, generator=made, dtype=torch.float64)
    index = torch.arange(num * steps)
    columns = {"observation": state, "action": state[:, :2] / 5, "reward": state[:, 2], "next_observation": following}
    return {**columns, "terminated": index < 0, "step": index % steps, "episode": index // steps}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"observation": torch.float32, "reward": torch.float16},
        {"terminated": torch.float32, "step": torch.int32, "episode": torch.int16},
        {"terminated": torch.uint8, "step": torch.float64, "episode": torch.uint8},
    ],
)
def test_other_types_of_the_same_numbers(change: dict[str, torch.dtype]) -> None:
    columns = {name: values.to(change.get(name, values.dtype)) for name, values in logged().items()}
    columns["reward"] = columns["reward"][:, None]
    found = from_table(TensorTable(columns), 5)
    for name in ("observation", "action", "reward", "next_observation"):
        assert getattr(found, name).dtype == torch.float32
        expected = columns[name].double().numpy().astype(np.float32).reshape(getattr(found, name).shape)
        np.testing.assert_array_equal(getattr(found, name).numpy(), expected)
    assert found.terminated.dtype == torch.bool
    assert not found.terminated.any()
    assert found.valid.all()


@pytest.mark.parametrize(
    ("column", "change", "named"),
    [
        ("reward", lambda x: x.index_fill(0, torch.tensor([7]), torch.nan), "column reward is NaN.* in row 7"),
        ("reward", lambda x: x[:, None].expand(-1, 2), r"column reward is torch.float64 of shape \(2,\) per row"),
        ("action", lambda x: x * 1e300, "column action is NaN, infinite or beyond torch.float32"),
        ("observation", lambda x: x[:, None], r"of shape \(1, 3\) per row, expected a vector"),
        ("next_observation", lambda x: x[:, :2], "column next_observation has 2 values per step, expected 3"),
        ("terminated", lambda x: x + 0.5, "column terminated has values from 0.5 to 0.5, expected only 0 and 1"),
        ("terminated", lambda x: torch.arange(len(x)) == 2, "episode 0 continues after step 2, which is terminal"),
        ("step", lambda x: x + 1, r"column step: .* row 0 \(episode 0\) has 1, expected 0: number the steps"),
        ("step", lambda x: x + 0.5, "column step has values that are not whole numbers"),
        ("episode", lambda x: torch.arange(len(x)) % 6, "column episode: .* sort the rows"),
    ],
)
def test_a_column_that_is_not_what_it_is_called(column: str, change: Any, named: str) -> None:
    columns = logged()
    columns[column] = change(columns[column])
    with pytest.raises(InputError, match=named):
        from_table(TensorTable(columns), 5)


TYPES = (torch.float16, torch.float32, torch.int8, torch.int64, torch.uint8, torch.bool, torch.complex64)
CHANGES: tuple[Any, ...] = (
    *(lambda x, dtype=dtype: x.to(dtype) for dtype in TYPES),
    lambda x: x[..., None],
    lambda x: x[:, None],
    lambda x: x.flip(0),
    lambda x: x.roll(3, 0),
    lambda x: x * 1e40,
    lambda x: x + 1,
    lambda x: torch.where(torch.arange(len(x)).view(-1, *[1] * (x.ndim - 1)) == 4, torch.nan, x.double()),
)


@pytest.mark.parametrize("count", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_odd_logs_are_read_as_they_are_or_refused(count: int) -> None:
    """The oracle is numpy's reshape of the changed columns."""
    refused = 0
    for seed in range(count):
        draw = random.Random(seed)
        columns = logged()
        for name in draw.sample(sorted(columns), 2):
            columns[name] = draw.choice(CHANGES)(columns[name])
        try:
            found = from_table(TensorTable(columns), 5)
        except InputError:
            refused += 1
            continue
        order = columns["step"].numpy().ravel(), columns["episode"].numpy().ravel()
        assert np.array_equal(order[0], np.tile(np.arange(5), 6))
        assert len(np.unique(order[1])) == 6
        for name in ("observation", "action", "reward", "next_observation", "terminated"):
            own = getattr(found, name).numpy()
            expected = columns[name].double().numpy().reshape(own.shape)
            np.testing.assert_array_equal(own, expected.astype(own.dtype), err_msg=f"{seed} {name}")
            assert np.isfinite(own).all()
    assert 0.3 * count < refused < count


@pytest.mark.parametrize("name", ["Hopper-v5", "Walker2d-v5"])
def test_terminal_states_are_the_environments(name: str) -> None:
    rollouts = roll_out_block(Environment(name, 60), untrained(name), 20, seed=0)
    took_place = rollouts.valid
    assert rollouts.terminated.any()
    assert torch.equal(TERMINAL[name](rollouts.next_observation[took_place]), rollouts.terminated[took_place])


def test_an_environment_whose_terminal_states_are_not_known() -> None:
    with pytest.raises(InputError, match="Ant-v5: its terminal states are not known"):
        terminal_states("Ant-v5")


def test_noise_in_the_transition_has_its_size() -> None:
    """From one state by one action: spread σ of velocities and reward, σ·dt of positions; none without it."""
    sigma = 0.3
    outcomes: dict[float, list[np.ndarray]] = {0.0: [], sigma: []}
    for noise, found in outcomes.items():
        environment = Environment("HalfCheetah-v5", 100, noise).make()
        for seed in range(300):
            environment.reset(seed=0)
            inner: Any = environment.unwrapped
            if noise:
                inner.np_random = np.random.default_rng(seed)
            observation, reward, *_ = environment.step(np.full(6, 0.3))
            found.append(np.append(observation, reward))
        dt = inner.dt
    still, noisy = (np.stack(found) for found in outcomes.values())
    assert np.ptp(still, axis=0).max() == 0
    expected = np.concatenate([np.full(8, sigma * dt), np.full(9, sigma), [sigma]])  # rootx is not observed
    np.testing.assert_allclose(noisy.std(0), expected, rtol=0.17)  # 300 draws: 4.1 % a standard error
    np.testing.assert_allclose(noisy.mean(0), still[0], atol=4 * sigma / 300**0.5)


def test_quaternions_stay_of_length_one() -> None:
    environment = Environment("HumanoidStandup-v5", 100, 0.5).make()
    environment.reset(seed=0)
    observation, *_ = environment.step(np.zeros(17))
    inner: Any = environment.unwrapped
    assert np.linalg.norm(inner.data.qpos[3:7]) == pytest.approx(1)
    assert np.isfinite(observation).all()


def test_an_environment_that_does_not_exist() -> None:
    with pytest.raises(InputError, match="env=Swimer-v5"):
        Environment("Swimer-v5").make()


@pytest.mark.parametrize("absent", ["gymnasium", "mujoco"])
def test_what_is_not_installed_is_named_with_its_extra(absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == absent:
            raise ImportError(f"No module named {absent!r}")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"Swimmer-v5 .*not installed.*pip install -e '\.\[ope\]'"):
        Environment("Swimmer-v5").make()


def test_an_environment_whose_actions_are_choices() -> None:
    with pytest.raises(InputError, match=r"env=CartPole-v1: it has a space Discrete of shape \(\)"):
        check_policy(untrained("Swimmer-v5"), Environment("CartPole-v1"))


def test_a_policy_of_another_environment() -> None:
    with pytest.raises(InputError, match="takes 8 observations and gives 2 actions, HalfCheetah-v5 has 17 and 6"):
        check_policy(untrained("Swimmer-v5"), Environment("HalfCheetah-v5"))


def test_nothing_is_written_into_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Environment("HalfCheetah-v5").make()
    assert not list(tmp_path.iterdir())
