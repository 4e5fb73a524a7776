"""Off-policy evaluation in MuJoCo's environments: every estimate's error over seeds, and when correction helps."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from lfiw.errors import InputError
from lfiw.evaluation.plots.style import save
from lfiw.tasks.ope.candidates import AUTO, AVERAGED, MEAN, UNCORRECTED
from lfiw.tasks.ope.horizons import errors_by_horizon
from lfiw.tasks.ope.problem import POLICIES
from lfiw.tasks.results import row

from .kept import Kept
from .repeated import Row, one_run

ENVIRONMENTS = ("Swimmer-v5", "HalfCheetah-v5", "HumanoidStandup-v5")  # those with policies in policies/
NOISE = 0.1
FIRST_SEED = 27  # those below, and from 1000 on, were used while `auto` and the settings were developed
HORIZONS = (1, 2, 5, 10, 20, 50, 100)
RESAMPLES = 2000
# variations of the experiment's settings: the model's quality, the amount of data, the distance of the policies
CURVE = {
    "as in the table": [],
    "plain likelihood": ["task.dynamics.beta=0"],
    "width 8": ["task.dynamics.width=8"],
    "50 episodes": ["data.episodes=50"],
    "600 episodes": ["data.episodes=600"],
    "π_e: π_b at half its noise": ["data.evaluation={behaviour}", "data.evaluation_noise=0.5"],
    "π_b: π_e at 1.5 times its noise": ["data.behaviour={evaluation}", "data.behaviour_noise=1.5"],
    "π_b at twice its noise": ["data.behaviour_noise=2"],
    "simulated states of π_e in the ratio": ["task.evaluation_states=true"],
    "64 candidates a step": ["task.candidates=64"],
}
CURVE_BASELINES = "task.baselines=[importance_sampling]"  # the other baselines take as long as the rest of a run

Record = dict[str, Any]


def run(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Runs each environment with and without noise in its transitions; `env=NAME` or `env=[NAME, …]` selects some."""
    environments, others = environments_of(overrides, ENVIRONMENTS)
    problems = {}
    for env in environments:
        problems[env] = [f"data.env={env}"]
        problems[f"{env}, noise {NOISE:g}"] = [f"data.env={env}", f"data.noise={NOISE}"]
    return repeated(problems, seeds, others, kept)


def curve(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Varies one setting at a time, on Swimmer and HalfCheetah unless `env=` selects others."""
    environments, others = environments_of(overrides, ENVIRONMENTS[:2])
    problems = {}
    for env in environments:
        roles = {role: POLICIES / f"{env}-{role}.safetensors" for role in ("behaviour", "evaluation")}
        for name, own in CURVE.items():
            problems[f"{env}, {name}"] = [f"data.env={env}", CURVE_BASELINES, *(o.format(**roles) for o in own)]
    rows, _ = repeated(problems, seeds, others, kept)
    return rows, []


def environments_of(overrides: Sequence[str], default: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the environments that `env=` names, and the other overrides."""
    named = [o.partition("=")[2] for o in overrides if o.startswith("env=")]
    others = [o for o in overrides if not o.startswith("env=")]
    if not named:
        return list(default), others
    value = OmegaConf.from_dotlist([f"env={named[-1]}"]).env
    names = [value] if isinstance(value, str) else list(value)
    if not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"env={named[-1]}: expected an environment's name, or [name,name]")
    return names, others


def repeated(
    problems: Mapping[str, Sequence[str]], seeds: int, overrides: Sequence[str], kept: Kept
) -> tuple[list[Row], list[Path]]:
    """Returns the rows of every problem, and the picture of errors by horizon."""
    rows: list[Row] = []
    curves: dict[str, dict[str, np.ndarray]] = {}
    lines: dict[str, dict[str, float]] = {}
    experiment = [] if any(o.startswith("experiment=") for o in overrides) else ["experiment=ope"]
    for problem, own in problems.items():
        records = []
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            options = [*experiment, *own, f"seed={seed}", "logger=none", *overrides]
            part = f"{problem}, seed {seed}"
            # the part's name contains the environment, so that any selection of environments can reuse it
            records.append(kept.get(part, partial(record_of, options), settings=list(overrides)))
        rows += rows_of(problem, records)
        truths = [r["truth"]["value"] for r in records]
        errors = np.abs(np.array([r["by_horizon"] for r in records]) - np.array(truths)[:, None])
        curves[problem] = {"error": errors, "ess": np.array([r["ess_by_horizon"] for r in records]).clip(min=1)}
        lines[problem] = {name: fmean(abs_errors(records)[name]) for name in (UNCORRECTED, AUTO, AVERAGED)}
    picture = Path(kept.folder).with_name("errors_by_horizon.png")
    return rows, [save(errors_by_horizon(curves, lines), picture)]


def record_of(options: Sequence[str]) -> Record:
    """Runs once, in a temporary folder; returns the content of ope.json."""
    with TemporaryDirectory() as folder:
        record: Record = one_run([*options, f"run_dir={folder}/run"])["record"]
    if record["truth"] is None:
        raise InputError("data.truth_episodes=0: the study judges estimates by real episodes")
    return record


def abs_errors(records: Sequence[Record]) -> dict[str, list[float]]:
    """Returns |estimate − truth| per seed, for the estimates that every seed has."""
    errors: defaultdict[str, list[float]] = defaultdict(list)
    for record in records:
        for name, estimate in record["estimates"].items():
            errors[name].append(abs(estimate["value"] - record["truth"]["value"]))
    return {name: values for name, values in errors.items() if len(values) == len(records)}


def rows_of(problem: str, records: Sequence[Record]) -> list[Row]:
    """Returns each estimate's error, its ratio to the uncorrected one's, and what explains them."""
    errors = abs_errors(records)
    rows = [row(f"{problem}/truth", "return", [r["truth"]["value"] for r in records])]
    rows[0]["se"] = records[0]["truth"]["se"]  # the same episodes judge every seed, so their own error applies
    rows.append(row(f"{problem}/behaviour policy", "return", [r["behaviour_return"] for r in records]))
    for name, values in errors.items():
        of_seeds = [r["estimates"][name] for r in records]
        rows.append(row(f"{problem}/{name}", "return", [e["value"] for e in of_seeds]))
        rows.append(row(f"{problem}/{name}", "abs_error", values))
        rows.append(ratio_row(f"{problem}/{name}", values, errors[UNCORRECTED]))
        if all(e["interval"] for e in of_seeds):
            held = [
                float(e["interval"]["low"] <= r["truth"]["value"] <= e["interval"]["high"])
                for e, r in zip(of_seeds, records, strict=True)
            ]
            rows.append(row(f"{problem}/{name}", "interval_coverage", held))
    for name in (AVERAGED, MEAN):
        shares = [float(r["auto"]["simulation"] == name) for r in records]
        rows.append(row(f"{problem}/{AUTO}", f"{name}_share", shares))
    for horizon in HORIZONS:
        if horizon < len(records[0]["ess_by_horizon"]):
            rows.append(row(f"{problem}/H={horizon}", "ess", [r["ess_by_horizon"][horizon] for r in records]))
    simulated = [r["num_diverged"] / r["num_simulated"] for r in records]
    rows.append(row(f"{problem}/simulation", "diverged_share", simulated))
    for metric in ("accuracy", "kl_gain"):
        rows.append(row(f"{problem}/ratio", metric, [r["classifier"][metric] for r in records]))
    for metric in ("accuracy", "kl"):
        rows.append(row(f"{problem}/shift", metric, [r["shift"][metric] for r in records]))
    return rows


def ratio_row(name: str, errors: Sequence[float], uncorrected: Sequence[float]) -> Row:
    """Computes the paired ratio of mean |error| to the uncorrected one's; jackknife error, bootstrap 95 % interval."""
    n, pairs = len(errors), list(zip(errors, uncorrected, strict=True))
    value = ratio_of_means(pairs)
    found: Row = {"name": name, "metric": "abs_error_ratio", "mean": value, "se": None, "n": n}
    if n > 1:
        without = [ratio_of_means(pairs[:i] + pairs[i + 1 :]) for i in range(n)]
        found["se"] = stdev(without) * (n - 1) / n**0.5
        draw = random.Random(0)
        resampled = sorted(ratio_of_means(draw.choices(pairs, k=n)) for _ in range(RESAMPLES))
        found["low"], found["high"] = resampled[int(0.025 * RESAMPLES)], resampled[int(0.975 * RESAMPLES)]
    return found


def ratio_of_means(pairs: Sequence[tuple[float, float]]) -> float:
    return sum(a for a, _ in pairs) / max(sum(b for _, b in pairs), 1e-300)
