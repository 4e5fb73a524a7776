"""Off-policy evaluation: estimates the return of a policy that was not run from another policy's episodes."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.loggers import Logger
from torch import Tensor

from lfiw.config import CONF
from lfiw.data import SampleCache
from lfiw.data.batches import mix_seeds
from lfiw.data.table import table_name
from lfiw.errors import InputError
from lfiw.evaluation.plots.style import save
from lfiw.evaluation.recording import held_out_scores
from lfiw.evaluation.tables import number, print_table
from lfiw.files import write_json
from lfiw.schemas import Config, PoliciesData, Run
from lfiw.tasks.ope.baselines import (
    DOUBLY_ROBUST,
    FITTED_Q,
    IMPORTANCE_SAMPLING,
    check_baselines,
    doubly_robust_by_model,
    fitted_q,
    importance_sampling,
)
from lfiw.tasks.ope.candidates import (
    ANCHORED,
    AUTO,
    AVERAGED,
    DO_NOTHING,
    MEAN,
    RESAMPLED,
    SIMULATIONS,
    UNCORRECTED,
    Estimate,
    anchored,
    choose,
    do_nothing,
    mean_return,
    model_estimates,
)
from lfiw.tasks.ope.dynamics import DynamicsModel
from lfiw.tasks.ope.environments import Environment, Terminal, check_policy, terminal_states
from lfiw.tasks.ope.estimators import ess_by_horizon, flatten_by_ess, horizon_by_ess, trajectory_weighted
from lfiw.tasks.ope.horizons import estimates_by_horizon
from lfiw.tasks.ope.policy import Policy, load_policy
from lfiw.tasks.ope.reach import reach_of
from lfiw.tasks.ope.rollouts import Rollouts, from_table, kept_rollouts
from lfiw.tasks.ope.simulation import Simulated, ratio_of_one, simulate
from lfiw.tasks.ope.training import measure_shift, train_dynamics, train_ratio, transitions_of
from lfiw.training import tracking
from lfiw.weighting.diagnostics import balanced_accuracy, kl_gain

POLICIES = CONF.parent / "policies"
RECORD = "ope.json"
TRUTH_SEED = 2**31  # of the real episodes that judge estimates; no run uses it for its data
ROUNDING = 1e-5  # of actions
SAME_DENSITY = 0.01  # nats between log-densities of one policy, in the median: more than float32 rounds


@dataclass(frozen=True)
class Problem:
    """The environment, the policy that made the data, and the policy to evaluate."""

    environment: Environment
    behaviour: Policy
    evaluation: Policy
    terminal: Terminal


def run(config: Config, run_dir: Path, loggers: Sequence[Logger]) -> tuple[dict[str, float], dict[str, Any]]:
    """Trains on episodes of the behaviour policy, estimates and chooses; reads the truth last.

    Returns:
        Metrics by name, and `record`: the content of ope.json in the run folder.

    Raises:
        InputError: the environment is not installed, a policy does not fit it, or the episodes are unusable.
    """
    problem = build_problem(config)
    data = behaviour_episodes(config, problem)
    check_baselines(config.task.baselines, problem.behaviour, problem.evaluation)
    reach = reach_of(data, problem.behaviour, problem.evaluation)
    if reach is not None:
        print(f"reach: the evaluation policy is {reach.verdict}; {reach.reason}")
    record = estimate(config, run_dir, loggers, problem, data)
    record["reach"] = None if reach is None else reach.to_json()
    options = config.data
    if options.truth_episodes:
        real = kept_rollouts(
            Path(options.folder),
            problem.environment,
            problem.evaluation,
            options.truth_episodes,
            TRUTH_SEED,
            options.workers,
        )
        returns = from_table(real, options.horizon).returns()
        record["truth"] = {"value": returns.mean().item(), "se": (returns.std() / len(returns) ** 0.5).item()}
    write_json(run_dir / RECORD, record)
    picture = save(estimates_by_horizon(record), run_dir / "horizon.png")
    print_record(record)
    metrics = as_metrics(record)
    for logger in loggers:
        logger.log_metrics(metrics, step=0)
    tracking.log_pictures(loggers, {"ope/horizon": picture})
    return metrics, {"record": record, "picture": picture}


def evaluate(config: Config, run_dir: Path, loggers: Sequence[Logger]) -> tuple[dict[str, float], dict[str, Any]]:
    """Prints what the run found; nothing is computed. Returns as `run`.

    Raises:
        InputError: the run did not finish.
    """
    file = run_dir / RECORD
    if not file.is_file():
        raise InputError(f"{run_dir} has no {RECORD}: the run did not finish; run train.py experiment=ope again")
    record = json.loads(file.read_text())
    print_record(record)
    return as_metrics(record), {"record": record}


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
    policies: list[Policy] = []
    for role in ("behaviour", "evaluation"):
        path = Path(getattr(data, role) or POLICIES / f"{data.env}-{role}.safetensors")
        policy = load_policy(path, getattr(data, f"{role}_noise"))
        check_policy(policy, environment)
        policies.append(policy)
    behaviour, evaluation = policies
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


def check_densities(episodes: Rollouts, behaviour: Policy, name: str) -> None:
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


def estimate(
    config: Config, run_dir: Path, loggers: Sequence[Logger], problem: Problem, data: Rollouts
) -> dict[str, Any]:
    """Computes all estimates and chooses among them, from the behaviour policy's episodes alone."""
    task = config.task
    generator = torch.Generator().manual_seed(mix_seeds(config.seed, 2))
    order = torch.randperm(len(data), generator=generator)
    num_train = max(1, min(len(data) - 1, round(config.data.train * len(data))))
    train, held_out = data.episodes(order[:num_train]), data.episodes(order[num_train:])
    rows, held_out_rows = (transitions_of(part, problem.behaviour) for part in (train, held_out))
    model = train_dynamics(config, run_dir, loggers, rows, held_out_rows)

    def simulation(policy: Policy, ratio: Any = None, **options: Any) -> Simulated:
        start = torch.randint(len(data), (task.num_trajectories,), generator=generator)
        return simulate(
            model,
            policy,
            data.observation[start, 0],
            config.data.horizon,
            problem.terminal,
            generator,
            log_ratio=ratio,
            **options,
        )

    states = simulation(problem.evaluation)
    ratio = train_ratio(config, run_dir, loggers, model, held_out_rows, states if task.evaluation_states else None)
    of_transition = ratio.classifier.log_ratio
    simulated = {
        role: {
            UNCORRECTED: simulation(policy, of_transition),
            RESAMPLED: simulation(policy, of_transition, candidates=task.candidates),
            AVERAGED: simulation(policy, of_transition, candidates=task.candidates, average=True),
        }
        for role, policy in (("behaviour", problem.behaviour), ("evaluation", problem.evaluation))
    }
    plain = simulated["evaluation"][UNCORRECTED]
    min_ess = task.min_ess * len(plain.reward)
    estimates = {role: model_estimates(of, min_ess, task.bootstraps, generator) for role, of in simulated.items()}
    all_estimates = estimates["evaluation"]
    for name in SIMULATIONS:
        of_evaluation, of_behaviour = simulated["evaluation"][name], simulated["behaviour"][name]
        all_estimates[name + ANCHORED] = anchored(
            of_evaluation, of_behaviour, data.returns(), task.bootstraps, generator
        )
    gain, gain_error = (value.item() for value in kl_gain(*ratio.calibrated))
    chosen, reason = choose((gain, gain_error), deterministic=not config.data.noise)
    all_estimates[AUTO] = all_estimates[chosen]
    all_estimates.update(baselines(config, problem, model, data, held_out, generator))
    means = [
        simulation(policy, ratio_of_one, candidates=2, average=True)
        for policy in (problem.evaluation, problem.behaviour)
    ]
    all_estimates[DO_NOTHING] = do_nothing(data.returns(), task.bootstraps, generator)
    all_estimates[MEAN] = mean_return(means[0], task.bootstraps, generator)
    all_estimates[MEAN + ANCHORED] = anchored(means[0], means[1], data.returns(), task.bootstraps, generator)

    runs = [states, *means, *(run for of in simulated.values() for run in of.values())]
    log_ratio, rewards = plain.log_ratio, plain.reward
    horizons = range(config.data.horizon + 1)
    shift = measure_shift(config, run_dir, held_out_rows.inputs(), states_and_actions(states, len(held_out_rows)))
    return {
        "environment": config.data.env,
        "horizon": config.data.horizon,
        "noise": config.data.noise,
        "num_episodes": len(data),
        "behaviour_return": data.returns().mean().item(),
        "estimates": {name: asdict(e) for name, e in all_estimates.items()},
        "behaviour_estimates": {name: asdict(e) for name, e in estimates["behaviour"].items()},
        "auto": {"estimator": chosen, "reason": reason},
        "truth": None,
        "by_horizon": [trajectory_weighted(log_ratio, rewards, h).item() for h in horizons],
        "ess_by_horizon": ess_by_horizon(log_ratio).tolist(),
        "settings": {"H": horizon_by_ess(log_ratio, min_ess), "flatten": flatten_by_ess(log_ratio, min_ess)},
        "num_simulated": len(runs) * task.num_trajectories,
        "num_diverged": sum(run.num_diverged for run in runs),
        "classifier": {
            **asdict(held_out_scores(ratio.raw, ratio.calibrated)),
            "kl_gain": gain,
            "kl_gain_se": gain_error,
        },
        "shift": {"accuracy": balanced_accuracy(*shift).item(), "kl": shift[0].mean().item()},
    }


def baselines(
    config: Config,
    problem: Problem,
    model: DynamicsModel,
    data: Rollouts,
    held_out: Rollouts,
    generator: torch.Generator,
) -> dict[str, Estimate]:
    """Computes the requested estimates from real episodes."""
    names, repetitions = config.task.baselines, config.task.bootstraps
    behaviour, evaluation = problem.behaviour, problem.evaluation
    estimates: dict[str, Estimate] = {}
    if IMPORTANCE_SAMPLING in names:
        estimates |= importance_sampling(data, behaviour, evaluation, repetitions, generator)
    if DOUBLY_ROBUST in names:
        estimates |= doubly_robust_by_model(
            held_out, model, behaviour, evaluation, problem.terminal, repetitions, generator
        )
    if FITTED_Q in names:
        estimates |= fitted_q(data, behaviour, evaluation, config.data.horizon, generator)
    return estimates


def states_and_actions(simulated: Simulated, most: int) -> Tensor:
    """Returns (s, a) of at most `most` simulated steps, from trajectories in random order."""
    rows = torch.cat([simulated.observation, simulated.action], dim=2).flatten(0, 1)
    step = max(1, len(rows) // most)
    return rows[::step][:most].clone()


def as_metrics(record: dict[str, Any]) -> dict[str, float]:
    """Returns the estimates, their absolute errors if the truth is known, and the counts."""
    metrics = {f"ope/{name}": estimate["value"] for name, estimate in record["estimates"].items()}
    if record["truth"]:
        truth = record["truth"]["value"]
        metrics |= {f"ope/abs_error/{n}": abs(e["value"] - truth) for n, e in record["estimates"].items()}
    return {**metrics, "ope/num_diverged": float(record["num_diverged"])}


def print_record(record: dict[str, Any]) -> None:
    """Prints the table."""
    truth = record["truth"]
    rows = []
    for name, estimate in record["estimates"].items():
        interval = estimate["interval"]
        ends = f"{number(interval['low'], 4)} … {number(interval['high'], 4)}" if interval else "–"
        error = number(abs(estimate["value"] - truth["value"]), 3) if truth else "–"
        rows.append([name, number(estimate["value"], 4), ends, error])
    title = f"{record['environment']}: return over {record['horizon']} steps"
    if truth:
        title += f", really {number(truth['value'], 4)} ± {number(truth['se'], 2)}"
    print_table(title, ["estimate", "return", "95 % interval", "|error|"], rows)
    print(f"auto: {record['auto']['estimator']}; {record['auto']['reason']}")
    if reach := record.get("reach"):  # runs of 0.1.0 have none
        print(f"reach: the evaluation policy is {reach['verdict']}; {reach['reason']}")
    print(f"diverged: {record['num_diverged']:,} of {record['num_simulated']:,} simulated trajectories, dropped")
    shift = record["shift"]
    print(
        f"a classifier tells {shift['accuracy']:.0%} of the simulated evaluation policy's (s, a) from the data's; "
        f"{record['classifier']['accuracy']:.0%} of real from simulated outcomes at the data's (s, a)"
    )
