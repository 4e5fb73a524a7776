"""Episodes of a policy, rolled out or read from a cache."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lfiw.data import CacheWriter, SampleCache
from lfiw.data.batches import mix_seeds
from lfiw.data.table import Table, table_name
from lfiw.errors import InputError
from lfiw.tasks.ope.environments import Environment
from lfiw.tasks.ope.gaussian_policy import GaussianPolicy
from lfiw.training.progress import reporting
from lfiw.untrusted import state_sha256
from lfiw.version import __version__

if TYPE_CHECKING:
    from gymnasium.vector import SyncVectorEnv

BLOCK = 50  # episodes that step together, from one seed: the result does not depend on the number of workers
COLUMNS = ("observation", "action", "reward", "next_observation", "terminated", "step", "episode")
VECTORS = ("observation", "action", "next_observation")  # columns with a vector per row; the others have numbers


@dataclass(frozen=True)
class Rollouts:
    """Episodes side by side; after an episode's end its rewards are 0 and its other values are meaningless.

    Args:
        observation, next_observation: float32; the latter before any reset.
        action: as drawn by the policy, float32; the environment clips it to its bounds.
        terminated: the step reached a terminal state.
        valid: the step took place.
        log_prob: log-density of the action under the policy that drew it, float64. If None, not known.
    """

    observation: Float[Tensor, "n t d"]
    action: Float[Tensor, "n t a"]
    reward: Float[Tensor, "n t"]
    next_observation: Float[Tensor, "n t d"]
    terminated: Bool[Tensor, "n t"]
    valid: Bool[Tensor, "n t"]
    log_prob: Float[Tensor, "n t"] | None = None

    def __len__(self) -> int:
        return len(self.reward)

    def returns(self) -> Float[Tensor, " n"]:
        """Computes the undiscounted sums of rewards, float64."""
        return self.reward.double().sum(1)

    def first_states(self, num: int, generator: torch.Generator) -> Float[Tensor, "num d"]:
        """Draws first states of the episodes, with replacement."""
        return self.observation[torch.randint(len(self), (num,), generator=generator), 0]

    def episodes(self, rows: Tensor | slice) -> "Rollouts":
        """Selects some of the episodes."""
        columns = {name: values[rows] for name, values in vars(self).items() if values is not None}
        return Rollouts(**columns)

    def columns(self) -> dict[str, Tensor]:
        """Returns the steps that took place as columns of a table, episode after episode."""
        episode, step = self.valid.nonzero(as_tuple=True)
        names = ("observation", "action", "reward", "next_observation", "terminated")
        values = {name: getattr(self, name)[episode, step] for name in names}
        values |= {"step": step, "episode": episode}
        return values if self.log_prob is None else {**values, "log_prob": self.log_prob[episode, step]}


def concatenated(parts: Sequence[Rollouts]) -> Rollouts:
    """Concatenates the episodes of rollouts with the same horizon."""
    names = [name for name, values in vars(parts[0]).items() if values is not None]
    return Rollouts(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def roll_out(
    environment: Environment, policy: GaussianPolicy, num_episodes: int, seed: int, *, workers: int = 1
) -> Iterator[Rollouts]:
    """Yields episodes of the policy, block by block.

    Each block has its own seed, made from `seed` and its number, for first states, actions and noise.

    Args:
        workers: processes that share the blocks.

    Raises:
        InputError: the environment is not installed, or the policy does not fit it.
    """
    if num_episodes < 1 or workers < 1:
        raise InputError(f"rollouts: {num_episodes} episodes and {workers} workers: at least 1 each")
    sizes = [min(BLOCK, num_episodes - start) for start in range(0, num_episodes, BLOCK)]
    seeds = [mix_seeds(seed, block) for block in range(len(sizes))]
    one = partial(roll_out_block, environment, policy)
    if workers == 1:
        yield from map(one, sizes, seeds)
        return
    with ProcessPoolExecutor(min(workers, len(sizes)), get_context("spawn")) as pool:
        yield from pool.map(one, sizes, seeds)


def roll_out_block(environment: Environment, policy: GaussianPolicy, num_episodes: int, seed: int) -> Rollouts:
    """Rolls out `num_episodes` episodes in step, with one pass of the policy for all of them."""
    from gymnasium.vector import SyncVectorEnv

    instances = SyncVectorEnv([environment.make] * num_episodes)
    try:
        return _roll_out(instances, environment.horizon, policy, seed)
    finally:
        instances.close()


def _roll_out(instances: "SyncVectorEnv", horizon: int, policy: GaussianPolicy, seed: int) -> Rollouts:
    generator = torch.Generator().manual_seed(seed)
    n = instances.num_envs
    bounds: Any = instances.single_action_space
    low, high = bounds.low, bounds.high
    first, _ = instances.reset(seed=[mix_seeds(seed, i) % 2**32 for i in range(n)])
    observation = torch.from_numpy(first.astype(np.float32))
    valid = torch.ones(n, dtype=torch.bool)
    steps: list[dict[str, Tensor]] = []
    for _ in range(horizon):
        action = policy.sample(observation, generator)
        following, reward, terminated, _, _ = instances.step(action.numpy().clip(low, high))
        ended = torch.from_numpy(terminated) & valid
        step = {"observation": observation, "action": action, "terminated": ended, "valid": valid}
        step["next_observation"] = observation = torch.from_numpy(following.astype(np.float32))
        step["reward"] = torch.from_numpy(reward).float() * valid
        if policy.noise:
            step["log_prob"] = policy.log_prob(step["observation"], action)
        steps.append(step)
        valid = valid & ~ended
    return Rollouts(**{name: torch.stack([step[name] for step in steps], dim=1) for name in steps[0]})


def from_table(table: Table, horizon: int) -> Rollouts:
    """Reads the episodes in a table of steps.

    Raises:
        InputError: a column is missing or contradicts its name; steps of an episode are missing or out of order; or an
            episode neither has `horizon` steps nor ends in its only terminal state.
    """
    columns = read_columns(table)
    name, episode, step = table_name(table), columns["episode"], columns["step"]
    episodes, index = episode.unique_consecutive(return_inverse=True)
    if len(episodes) != len(episode.unique()):
        raise InputError(
            f"{name}: column episode: the steps of an episode do not stand together: sort the rows by episode and step"
        )
    lengths = torch.bincount(index)
    starts = lengths.cumsum(0) - lengths
    expected = torch.arange(len(step)) - starts[index]
    if not torch.equal(step, expected):
        row = int((step != expected).nonzero()[0])
        raise InputError(
            f"{name}: column step: the steps of an episode are not 0, 1, 2, …: row {row} (episode {int(episode[row])}) "
            f"has {int(step[row])}, expected {int(expected[row])}: number the steps of each episode from 0, in order"
        )
    terminated = columns["terminated"]
    last = starts + lengths - 1
    if (early := terminated.index_fill(0, last, False)).any():
        row = int(early.nonzero()[0])
        raise InputError(
            f"{name}: column terminated: episode {int(episode[row])} continues after step {int(step[row])}, which is "
            "terminal: give what follows an episode number of its own"
        )
    wrong = (lengths > horizon) | ((lengths < horizon) & ~terminated[last])
    if wrong.any():
        which = int(wrong.nonzero()[0])
        raise InputError(
            f"{name}: episodes of unequal length: episode {int(episodes[which])} has {int(lengths[which])} steps, "
            f"expected {horizon}, or fewer if it ends in a terminal state; roll out again with this horizon, or set "
            "data.horizon"
        )
    valid = torch.arange(horizon) < lengths[:, None]

    def spread(values: Tensor) -> Tensor:
        wide = values.new_zeros(len(episodes), horizon, *values.shape[1:])
        wide[index, step] = values
        return wide

    kept = columns.keys() - {"step", "episode"}
    return Rollouts(**{name: spread(columns[name]) for name in kept}, valid=valid)


def read_columns(table: Table) -> dict[str, Tensor]:
    """Reads the columns in the types and shapes of `Rollouts`, whatever types and shapes the table has.

    Raises:
        InputError: a column is missing, or its shape or values contradict its name.
    """
    name = table_name(table)
    if absent := [column for column in COLUMNS if column not in table.columns]:
        raise InputError(f"{name} is not a table of rollouts: it has no column {', '.join(absent)}")
    names = [*COLUMNS, *(["log_prob"] if "log_prob" in table.columns else [])]
    columns = table.read(slice(0, len(table)), names)
    for column, values in columns.items():
        try:
            columns[column] = read_column(column, values)
        except ValueError as error:
            raise InputError(f"{name}: column {column} {error}") from None
    width, following = (columns[column].shape[1] for column in ("observation", "next_observation"))
    if width != following:
        raise InputError(
            f"{name}: column next_observation has {following} values per step, expected {width}, as observation"
        )
    return columns


def read_column(column: str, values: Tensor) -> Tensor:
    """Reads one column as `Rollouts` has it, with `step` and `episode` as int64.

    Raises:
        ValueError: a column is wrong; the message completes a sentence that starts with the column's name.
    """
    shape = tuple(values.shape[1:])
    vector = column in VECTORS
    if values.is_complex() or not (len(shape) <= 1 if vector else shape in ((), (1,))):
        raise ValueError(f"is {values.dtype} of shape {shape} per row, expected {'a vector' if vector else 'a number'}")
    values = values.reshape(len(values), -1) if vector else values.reshape(-1)
    numbers = values.float() if column == "reward" or vector else values.double()
    if not torch.isfinite(numbers).all():
        row = int((~torch.isfinite(numbers)).nonzero()[0, 0])
        raise ValueError(
            f"is NaN, infinite or beyond {numbers.dtype} in row {row}, expected finite numbers: mend that episode, or "
            "drop it"
        )
    if column == "terminated":
        if not ((numbers == 0) | (numbers == 1)).all():
            raise ValueError(
                f"has values from {numbers.min():g} to {numbers.max():g}, expected only 0 and 1, or booleans"
            )
        return numbers.bool()
    if column in ("step", "episode"):
        if values.long().double().ne(numbers).any():
            raise ValueError("has values that are not whole numbers: number the episodes, and the steps of each from 0")
        return values.long()
    return numbers


def provenance(environment: Environment, policy: GaussianPolicy, num_episodes: int, seed: int) -> dict[str, Any]:
    """Returns everything that the episodes depend on."""
    return {
        "environment": environment.name,
        "horizon": environment.horizon,
        "noise": environment.noise,
        "policy_sha256": state_sha256(policy.state_dict()),
        "policy_options": policy.options(),
        "policy_noise": policy.noise,
        "episodes": num_episodes,
        "seed": seed,
        "version": __version__,
    }


def write_rollouts(
    path: Path,
    environment: Environment,
    policy: GaussianPolicy,
    num_episodes: int,
    seed: int,
    workers: int,
    *,
    progress: bool = False,
) -> SampleCache:
    """Rolls out into a new cache, one row per step.

    Args:
        progress: report the progress.

    Raises:
        InputError: as `roll_out`, or the path is taken or cannot be written.
    """
    blocks = roll_out(environment, policy, num_episodes, seed, workers=workers)
    source = provenance(environment, policy, num_episodes, seed)
    with (
        CacheWriter(path, source=source) as writer,
        reporting("rollouts", num_episodes, "episodes", shown=progress) as advance,
    ):
        passed = 0
        for block in blocks:
            columns = block.columns()
            columns["episode"] += passed
            passed += len(block)
            writer.write(columns)
            advance(len(block))
    return SampleCache(path)


def kept_rollouts(
    folder: Path, environment: Environment, policy: GaussianPolicy, num_episodes: int, seed: int, workers: int
) -> SampleCache:
    """Returns the cache with exactly these episodes in a folder; rolls them out if it is missing."""
    identity = json.dumps(provenance(environment, policy, num_episodes, seed), sort_keys=True)
    path = folder / f"{environment.name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    if path.exists():
        return SampleCache(path)
    try:
        return write_rollouts(path, environment, policy, num_episodes, seed, workers)
    except InputError:
        if not path.exists():
            raise
        return SampleCache(path)  # another run has written the same episodes meanwhile
