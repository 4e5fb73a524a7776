"""Off-policy evaluation at graded distances: the error and the interval of each estimate along the path to a policy.

The policies between the behaviour policy (λ = 0) and the evaluation policy (λ = 1) interpolate both. Each seed has its
own episodes, model and ratio, trained once for all λ.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

from lfiw.config import compose
from lfiw.evaluation.plots.style import save
from lfiw.schemas import Config
from lfiw.tasks.ope import real_return
from lfiw.tasks.ope.baselines import importance_sampling
from lfiw.tasks.ope.candidates import (
    ANCHORED,
    AUTO,
    DO_NOTHING,
    UNCORRECTED,
    Estimate,
    anchored,
    do_nothing,
    mean_return,
    paired_returns,
)
from lfiw.tasks.ope.combination import Drift
from lfiw.tasks.ope.distances import errors_by_distance
from lfiw.tasks.ope.estimation import combine_sources, drift_towards
from lfiw.tasks.ope.gaussian_policy import Between, GaussianPolicy
from lfiw.tasks.ope.learning import Learned, learn
from lfiw.tasks.ope.problem import Problem, behaviour_episodes, build_problem
from lfiw.tasks.ope.reach import CARRIES, reach_of
from lfiw.tasks.ope.simulation import Simulated
from lfiw.tasks.results import row

from .kept import Kept
from .ope import ENVIRONMENTS, FIRST_SEED, NOISE, environments_of, ratio_row
from .repeated import Row

WAY = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

Graded = dict[str, Any]  # one policy of one seed


def run(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Runs each environment with and without noise in its transitions; `env=NAME` or `env=[NAME, …]` selects some."""
    environments, others = environments_of(overrides, ENVIRONMENTS)
    curves: dict[str, list[Row]] = {}
    for env in environments:
        curves |= with_and_without_noise(env, seeds, partial(outcome, env, overrides=others), others, kept)
    rows = [found for of_problem in curves.values() for found in of_problem]
    picture = Path(kept.folder).with_name("errors.png")
    return rows, [save(errors_by_distance(curves), picture)]


def with_and_without_noise(
    env: str, seeds: int, outcome: Callable[[float, int], list[Graded]], overrides: Sequence[str], kept: Kept
) -> dict[str, list[Row]]:
    """Returns the rows of an environment as it is, and with noise in its transitions, by the problem's name.

    Args:
        outcome: of a noise level and a seed.
        overrides: that the outcomes depend on.
    """
    found = {}
    for noise in (0.0, NOISE):
        problem = f"{env}, noise {noise:g}" if noise else env
        of_seeds = [
            kept.get(f"{problem}, seed {seed}", partial(outcome, noise, seed), settings=overrides)
            for seed in range(FIRST_SEED, FIRST_SEED + seeds)
        ]
        found[problem] = rows_of(problem, of_seeds)
    return found


def outcome(env: str, noise: float, seed: int, overrides: Sequence[str]) -> list[Graded]:
    """Learns from one seed's episodes and estimates the return at every λ."""
    config, learned = learned_from(env, noise, seed, overrides)
    behaviour, evaluation = learned.problem.behaviour, learned.problem.evaluation
    reach = reach_of(learned.data, behaviour, evaluation)
    assert reach is not None
    drift = drift_towards(config.task, learned, evaluation, reach)
    return [
        {
            "policy": f"λ={way:g}",
            "distance": way / reach.levels[CARRIES],
            **graded(config, learned, Between(behaviour, evaluation, way), drift),
        }
        for way in WAY
    ]


def learned_from(env: str, noise: float, seed: int, overrides: Sequence[str]) -> tuple[Config, Learned]:
    """Trains on one seed's episodes of the behaviour policy."""
    experiment = [] if any(o.startswith("experiment=") for o in overrides) else ["experiment=ope"]
    options = [*experiment, f"data.env={env}", f"data.noise={noise}", f"seed={seed}", "logger=none", *overrides]
    config = compose(options).config
    problem = build_problem(config)
    with TemporaryDirectory() as folder:
        return config, learn(config, Path(folder), [], problem, behaviour_episodes(config, problem))


def graded(config: Config, learned: Learned, policy: GaussianPolicy, drift: Drift) -> Graded:
    """The estimates of one policy's return, and its real return."""
    task, problem = config.task, learned.problem
    generator = torch.Generator().manual_seed(learned.seed)
    known, repetitions = learned.data.returns(), task.bootstraps
    plain, own = (learned.simulate(policy, name) for name in (UNCORRECTED, learned.way))
    combined = combine_sources(task, learned, policy, own, drift, generator)
    estimates = {
        UNCORRECTED: mean_return(plain, repetitions, generator),
        UNCORRECTED + ANCHORED: anchored(plain, learned.of_behaviour(UNCORRECTED), known, repetitions, generator),
        "simulation": anchored(own, learned.of_behaviour(learned.way), known, repetitions, generator),
        **importance_sampling(learned.data, problem.behaviour, policy, repetitions, generator),
        DO_NOTHING: do_nothing(known, repetitions, generator),
        AUTO: Estimate(combined.value, combined.interval),
    }
    real = Problem(problem.environment, problem.behaviour, policy, problem.terminal)
    return {
        "estimates": {name: asdict(estimate) for name, estimate in estimates.items()},
        "auto": combined.to_json(),
        "simulation": learned.way,
        "monte_carlo_error": monte_carlo_error(own, learned.of_behaviour(learned.way)),
        "truth": real_return(config, real),
    }


def monte_carlo_error(simulated: Simulated, of_behaviour: Simulated) -> float:
    """Standard error of the simulated gain with these networks, from the number of trajectories alone."""
    pairs, member = paired_returns(simulated, of_behaviour)
    of_networks = [(pairs[member == i, 0] - pairs[member == i, 1]) for i in member.unique()]
    return sum((gains.var() / len(gains)).item() for gains in of_networks) ** 0.5 / len(of_networks)


def rows_of(problem: str, of_seeds: Sequence[Sequence[Graded]]) -> list[Row]:
    """Rows named `PROBLEM, POLICY/ESTIMATE`: errors, their ratios to the uncorrected one, and intervals.

    Args:
        of_seeds: of each seed, what `graded` says of the same policies.
    """
    rows: list[Row] = []
    for records in zip(*of_seeds, strict=True):
        name, truth = f"{problem}, {records[0]['policy']}", records[0]["truth"]
        rows.append({**row(f"{name}/truth", "return", [truth["value"]]), "se": truth["se"]})
        rows.append(row(f"{name}/reach", "distance", [r["distance"] for r in records]))
        errors = {
            estimate: [abs(r["estimates"][estimate]["value"] - r["truth"]["value"]) for r in records]
            for estimate in records[0]["estimates"]
        }
        for estimate, values in errors.items():
            rows.append(row(f"{name}/{estimate}", "abs_error", values))
            rows.append(ratio_row(f"{name}/{estimate}", values, errors[UNCORRECTED]))
            intervals = [r["estimates"][estimate]["interval"] for r in records]
            held = [
                float(interval["low"] <= r["truth"]["value"] <= interval["high"])
                for interval, r in zip(intervals, records, strict=True)
            ]
            rows.append(row(f"{name}/{estimate}", "interval_coverage", held))
            widths = [interval["high"] - interval["low"] for interval in intervals]
            rows.append({**row(f"{name}/{estimate}", "interval_width", widths), "median": median(widths)})
        errors_of_number = [r["monte_carlo_error"] for r in records]
        rows.append(row(f"{name}/simulation", "monte_carlo_error", errors_of_number))
        unsure = [float(r["auto"]["verdict"].startswith("these data cannot tell")) for r in records]
        rows.append(row(f"{name}/{AUTO}", "cannot_tell", unsure))
        for k, source in enumerate(records[0]["auto"]["sources"]):
            shares = [r["auto"]["sources"][k]["weight"] for r in records]
            rows.append(row(f"{name}/{AUTO}", f"weight of {source['name']}", shares))
    return rows
