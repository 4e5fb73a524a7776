"""Off-policy evaluation: estimates the return of a policy that was not run from another policy's episodes."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pytorch_lightning.loggers import Logger
from torch import Tensor

from lfiw.evaluation.plots.style import save
from lfiw.evaluation.recording import held_out_scores
from lfiw.evaluation.tables import number, print_table
from lfiw.files import write_json
from lfiw.schemas import Config
from lfiw.tasks.ope.baselines import check_baselines
from lfiw.tasks.ope.candidates import ANCHORED, AUTO, UNCORRECTED, WAYS
from lfiw.tasks.ope.combination import SIMULATION
from lfiw.tasks.ope.estimation import estimate
from lfiw.tasks.ope.horizons import picture_of
from lfiw.tasks.ope.learning import Learned, learn
from lfiw.tasks.ope.problem import Problem, behaviour_episodes, build_problem
from lfiw.tasks.ope.reach import reach_of
from lfiw.tasks.ope.rollouts import from_table, kept_rollouts
from lfiw.tasks.ope.simulation import Simulated
from lfiw.tasks.ope.training import measure_shift
from lfiw.tasks.results import read_record
from lfiw.training import tracking
from lfiw.weighting.diagnostics import balanced_accuracy

RECORD = "ope.json"
TRUTH_SEED = 2**31  # of the real episodes that judge estimates; no run uses it for its data


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
    learned = learn(config, run_dir, loggers, problem, data)
    simulations = {way: learned.simulate(problem.evaluation, way) for way in WAYS}
    found = estimate(config.task, learned, problem.evaluation, simulations, reach)
    record = {**about(config, learned), **found, "reach": None if reach is None else reach.to_json()}
    record["shift"] = shift_of(config, run_dir, learned, simulations[UNCORRECTED])
    record["truth"] = real_return(config, problem)
    write_json(run_dir / RECORD, record)
    picture = save(picture_of(record), run_dir / "horizon.png")
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
    record = read_record(run_dir / RECORD, "run train.py experiment=ope again")
    print_record(record)
    return as_metrics(record), {"record": record}


def about(config: Config, learned: Learned) -> dict[str, Any]:
    """What ope.json has of the episodes and of what was learned from them."""
    gain, error = learned.gain
    scores = held_out_scores(learned.ratio.raw, learned.ratio.calibrated)
    return {
        "environment": config.data.env,
        "horizon": config.data.horizon,
        "noise": config.data.noise,
        "way": config.data.way,
        "num_episodes": len(learned.data),
        "behaviour_return": learned.data.returns().mean().item(),
        "classifier": {**asdict(scores), "kl_gain": gain, "kl_gain_se": error},
    }


def shift_of(config: Config, run_dir: Path, learned: Learned, simulated: Simulated) -> dict[str, float]:
    """Measures how well a classifier tells the (s, a) of the simulated evaluation policy from those of the data."""
    rows = learned.rows.inputs()
    log_ratios = measure_shift(config, run_dir, rows, states_and_actions(simulated, len(rows)))
    return {"accuracy": balanced_accuracy(*log_ratios).item(), "kl": log_ratios[0].mean().item()}


def states_and_actions(simulated: Simulated, most: int) -> Float[Tensor, "n i"]:
    """Returns (s, a) of at most `most` simulated steps, from trajectories in random order."""
    rows = torch.cat([simulated.observation, simulated.action], dim=2).flatten(0, 1)
    step = max(1, len(rows) // most)
    return rows[::step][:most].clone()


def real_return(config: Config, problem: Problem) -> dict[str, float] | None:
    """Returns the mean return of real episodes of the evaluation policy, and its standard error, if asked for."""
    options = config.data
    if not options.truth_episodes:
        return None
    real = kept_rollouts(
        Path(options.folder),
        problem.environment,
        problem.evaluation,
        options.truth_episodes,
        TRUTH_SEED,
        options.workers,
    )
    returns = from_table(real, options.horizon).returns()
    return {"value": returns.mean().item(), "se": (returns.std() / len(returns) ** 0.5).item()}


def as_metrics(record: dict[str, Any]) -> dict[str, float]:
    """Returns the estimates, their absolute errors if the truth is known, and the counts."""
    metrics = {f"ope/{name}": found["value"] for name, found in record["estimates"].items()}
    if record["truth"]:
        truth = record["truth"]["value"]
        metrics |= {f"ope/abs_error/{n}": abs(e["value"] - truth) for n, e in record["estimates"].items()}
    return {**metrics, "ope/num_diverged": float(record["num_diverged"])}


def print_record(record: dict[str, Any]) -> None:
    """Prints all estimates, what `auto` is made of, and what the data can tell."""
    truth = record["truth"]
    rows = []
    for name, found in record["estimates"].items():
        error = number(abs(found["value"] - truth["value"]), 3) if truth else "–"
        rows.append([name, number(found["value"], 4), ends(found["interval"]), error])
    title = f"{record['environment']}: return over {record['horizon']} steps"
    if truth:
        title += f", really {number(truth['value'], 4)} ± {number(truth['se'], 2)}"
    print_table(title, ["estimate", "return", "95 % interval", "|error|"], rows)
    if "sources" in record["auto"]:  # runs of 0.1.0 chose one estimate
        print_combination(record["auto"])
    found = record["estimates"][AUTO]
    print(f"{AUTO}: {number(found['value'], 4)} ({ends(found['interval'])})")
    way = record["auto"].get("simulation") or record["auto"]["estimator"]
    print(f"simulation: {way}; {record['auto']['reason']}")
    if reach := record.get("reach"):  # runs of 0.1.0 have none
        print(f"reach: the evaluation policy is {reach['verdict']}; {reach['reason']}")
    print(f"diverged: {record['num_diverged']:,} of {record['num_simulated']:,} simulated trajectories, dropped")
    shift = record["shift"]
    print(
        f"a classifier tells {shift['accuracy']:.0%} of the simulated evaluation policy's (s, a) from the data's; "
        f"{record['classifier']['accuracy']:.0%} of real from simulated outcomes at the data's (s, a)"
    )
    if "verdict" in record["auto"]:
        print(f"verdict: {record['auto']['verdict']}")


def print_combination(combined: dict[str, Any]) -> None:
    """Prints what the estimate is made of."""
    rows = []
    for source in combined["sources"]:
        name = combined["simulation"] + ANCHORED if source["name"] == SIMULATION else source["name"]
        error = number(source["squared_error"] ** 0.5, 3)
        rows.append([name, number(source["value"], 4), error, f"{source['weight']:.0%}"])
    print_table(f"{AUTO}: sources by predicted error", ["source", "return", "predicted error", "weight"], rows)


def ends(interval: dict[str, float] | None) -> str:
    return f"{number(interval['low'], 4)} … {number(interval['high'], 4)}" if interval else "–"
