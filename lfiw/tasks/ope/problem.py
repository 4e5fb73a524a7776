"""What an evaluation is about: the environment, both policies, and the behaviour policy's episodes."""

from dataclasses import dataclass
from pathlib import Path

from lfiw.config import CONF
from lfiw.data import SampleCache
from lfiw.data.batches import mix_seeds
from lfiw.data.table import table_name
from lfiw.errors import InputError
from lfiw.schemas import Config, PoliciesData, Run
from lfiw.tasks.ope.environments import Environment, Terminal, check_policy, terminal_states
from lfiw.tasks.ope.gaussian_policy import Between, GaussianPolicy
from lfiw.tasks.ope.policy import load_policy
from lfiw.tasks.ope.rollouts import Rollouts, from_table, kept_rollouts

POLICIES = CONF.parent / "policies"
ROUNDING = 1e-5  # of actions
SAME_DENSITY = 0.01  # nats between log-densities of one policy, in the median: more than float32 rounds


@dataclass(frozen=True)
class Problem:
    """The environment, the policy that made the data, and the policy to evaluate."""

    environment: Environment
    behaviour: GaussianPolicy
    evaluation: GaussianPolicy
    terminal: Terminal


def build_problem(config: Config) -> Problem:
    """Builds the environment and the two policies; finds every mistake before anything is computed."""
    data = config.data
    if not isinstance(data, PoliciesData):
        raise InputError(f"task=ope needs data=policies, not {data.name}")
    if config.ensemble > 1 or config.weighting != Run().weighting:
        raise InputError("task=ope has its own choice among corrections: it takes ensemble=1 and no weighting=")
    environment = Environment(data.env, data.horizon, data.noise)
    environment.make().close()
    terminal = terminal_states(data.env)
    policies: list[GaussianPolicy] = []
    for role in ("behaviour", "evaluation"):
        path = Path(getattr(data, role) or POLICIES / f"{data.env}-{role}.safetensors")
        policy = load_policy(path, getattr(data, f"{role}_noise"))
        check_policy(policy, environment)
        policies.append(policy)
    behaviour, evaluation = policies
    if data.way < 1:
        evaluation = Between(behaviour, evaluation, data.way)
    return Problem(environment, behaviour, evaluation, terminal)


def behaviour_episodes(config: Config, problem: Problem) -> Rollouts:
    """Reads the data from the given cache, or rolls it out."""
    data = config.data
    if data.rollouts:
        table = SampleCache(data.rollouts)
    else:
        seed = mix_seeds(config.seed, 7)
        table = kept_rollouts(
            Path(data.folder), problem.environment, problem.behaviour, data.episodes, seed, data.workers
        )
    episodes = from_table(table, data.horizon)
    for column, width in (("observation", problem.behaviour.sizes[0]), ("action", problem.behaviour.sizes[-1])):
        if (size := getattr(episodes, column).shape[2]) != width:
            raise InputError(
                f"{table_name(table)}: column {column} has {size} values per step, {data.env} has {width}: give "
                "episodes of that environment, or its name as data.env"
            )
    low, high = problem.behaviour.low, problem.behaviour.high
    actions = episodes.action[episodes.valid]
    if problem.behaviour.squashed and ((actions < low - ROUNDING) | (actions > high + ROUNDING)).any():
        raise InputError(
            f"{table_name(table)}: column action lies in {actions.min():g} … {actions.max():g}, beyond the bounds "
            f"of data.behaviour, which squashes into {low.min():g} … {high.max():g}: give actions as the environment "
            "took them (a replay buffer of stable-baselines3 holds them scaled to -1 … 1)"
        )
    check_densities(episodes, problem.behaviour, table_name(table))
    return episodes


def check_densities(episodes: Rollouts, behaviour: GaussianPolicy, name: str) -> None:
    """Raises InputError if the densities that were recorded are not those of the behaviour policy."""
    if episodes.log_prob is None or not behaviour.noise:
        return
    recorded, actions = episodes.log_prob[episodes.valid], episodes.action[episodes.valid]
    difference = (recorded - behaviour.log_prob(episodes.observation[episodes.valid], actions)).abs()
    if difference.median() > SAME_DENSITY:
        raise InputError(
            f"{name}: column log_prob differs from the log-densities of data.behaviour by {difference.median():.3g} "
            "nats in the median: give the policy and the data.behaviour_noise that drew these actions, or leave out "
            "the column"
        )
