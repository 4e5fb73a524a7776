"""Where both densities are known: the learned log-ratio against the exact one, and what its errors cost."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pytorch_lightning.loggers import Logger
from rich.progress import track
from torch import Tensor

from lfiw import tracking
from lfiw.data.batches import mix_seeds
from lfiw.data.mixed import MixedDataModule
from lfiw.data.table import TensorTable
from lfiw.densities import FittedGaussian, Mixture
from lfiw.errors import InputError
from lfiw.modules.ratio import RatioClassifier
from lfiw.plots import save, toy_probabilities
from lfiw.results import Row, row, write_study
from lfiw.schemas import Config, Run, ToyCase, ToyData
from lfiw.tables import number, print_table
from lfiw.trainers import CHECKPOINTS, best_checkpoint, build_trainer, fit
from lfiw.weights import Weighting

ESTIMATES = {"valley": "P(valley)", "distance": "E|x − μ|"}
WEIGHTINGS = ("uniform", "learned", "exact")


@dataclass(frozen=True)
class Repetition:
    """One fitted Gaussian and one classifier.

    Args:
        errors: (weighting, quantity) → estimate minus truth.
        log_ratio_error: root mean square of learned minus exact log-ratio under the model's samples.
        exact, learned: class probabilities of the evaluation samples at even odds.
    """

    errors: dict[tuple[str, str], float]
    log_ratio_error: float
    exact: Float[Tensor, " n"]
    learned: Float[Tensor, " n"]


def run(config: Config, run_dir: Path, loggers: Sequence[Logger]) -> tuple[dict[str, float], dict[str, Any]]:
    """Every case at every size, `task.seeds` times.

    Returns:
        Metrics by name, `rows`: the results as toy.json in the run folder has them, and `picture`: the PNG file.

    Raises:
        InputError: no case, size or seed is asked for.
    """
    started = time.perf_counter()
    if not isinstance(config.data, ToyData):
        raise InputError(f"task=toy needs data=toy, not {config.data.name}")
    if not config.data.cases or min(config.task.num_samples, default=0) < 10 or config.task.seeds < 1:
        raise InputError("task=toy needs a case in data.cases, sizes of at least 10 in task.num_samples and a seed")
    if config.calibration != "none" or config.folds * config.ensemble > 1 or config.weighting != Run().weighting:
        raise InputError(
            "task=toy compares the plain ratio of one classifier with the exact one: it takes calibration=none, "
            "folds=1, ensemble=1 and no weighting="
        )
    repetitions: dict[tuple[str, int], list[Repetition]] = {}
    plan = [
        (case, n, seed)
        for case in config.data.cases
        for n in config.task.num_samples
        for seed in range(config.seed, config.seed + config.task.seeds)
    ]
    for case, n, seed in track(plan, "toy", disable=not plan):
        folder = run_dir / f"{case.name}-n{n}-s{seed}"
        repetitions.setdefault((case.name, n), []).append(repeat(config, case, n, seed, folder))
    rows = [r for (name, n), group in repetitions.items() for r in summarise(f"{name} n={n}", group)]
    print_rows(config, rows)
    write_study(run_dir / "toy.json", "toy", "train.py experiment=toy", time.perf_counter() - started, rows)
    figure = toy_probabilities({name: [(r.exact, r.learned) for r in group] for name, group in repetitions.items()})
    picture = save(figure, run_dir / "toy.png")
    metrics = as_metrics(rows)
    for logger in loggers:
        logger.log_metrics(metrics, step=0)
    tracking.log_pictures(loggers, {"toy/probabilities": picture})
    return metrics, {"rows": rows, "picture": picture}


def evaluate(config: Config, run_dir: Path, loggers: Sequence[Logger]) -> tuple[dict[str, float], dict[str, Any]]:
    """Show what the run found; nothing is left to compute. Returns as `run`.

    Raises:
        InputError: the run did not finish.
    """
    file = run_dir / "toy.json"
    if not file.is_file():
        raise InputError(f"{run_dir} has no toy.json: the run did not finish; run train.py experiment=toy again")
    rows = json.loads(file.read_text())["rows"]
    print_rows(config, rows)
    return as_metrics(rows), {"rows": rows}


def as_metrics(rows: Sequence[Row]) -> dict[str, float]:
    return {f"{r['name']}/{r['metric']}".replace(" ", "/"): r["mean"] for r in rows}


def repeat(config: Config, case: ToyCase, n: int, seed: int, folder: Path) -> Repetition:
    """Fit the Gaussian to n samples, train on n of each side, weight fresh samples of the Gaussian."""
    generator = torch.Generator().manual_seed(mix_seeds(seed, n))
    data = Mixture(case.means, case.scales, case.proportions, case.valley)
    real = data.sample(n, generator)
    model = FittedGaussian(real)
    datamodule = MixedDataModule(
        TensorTable({"vector": real.float()}),
        TensorTable({"vector": model.sample(n, generator).float()}),
        **mixing_options(config.data),
        seed=seed,
    )
    classifier = RatioClassifier(asdict(config.model), asdict(config.optimizer), seed=seed, loss=asdict(config.loss))
    trainer = build_trainer(config.trainer, folder, [], ema_decay=config.optimizer.ema_decay)
    fit(trainer, classifier, datamodule)
    best = RatioClassifier.load(best_checkpoint(folder / CHECKPOINTS))

    x = model.sample(config.data.num_evaluation, generator)
    log_ratio = {
        "uniform": torch.zeros(len(x), dtype=torch.float64),
        "learned": best.log_ratio(x.float()),
        "exact": data.log_density(x) - model.log_density(x),
    }
    values = {"valley": data.in_valley(x).double(), "distance": data.distance(x)}
    truth = {"valley": data.valley_probability(), "distance": data.mean_distance()}
    errors = {
        (name, quantity): float(Weighting()(log_ratio[name]) @ values[quantity]) - truth[quantity]
        for name in WEIGHTINGS
        for quantity in ESTIMATES
    }
    gap = log_ratio["learned"] - log_ratio["exact"]
    return Repetition(
        errors, gap.square().mean().sqrt().item(), log_ratio["exact"].sigmoid(), log_ratio["learned"].sigmoid()
    )


def mixing_options(data: ToyData) -> dict[str, Any]:
    """The options that `MixedDataModule` takes."""
    options = asdict(data)
    for own in ("name", "cases", "num_evaluation"):
        del options[own]
    return options


def summarise(name: str, group: Sequence[Repetition]) -> list[Row]:
    """Rows of one case and size: bias of each estimate, and the log-ratio's error."""
    rows = [row(name, "log_ratio_rmse", [r.log_ratio_error for r in group])]
    for quantity in ESTIMATES:
        for weighting in WEIGHTINGS:
            values = [r.errors[weighting, quantity] for r in group]
            rows.append(row(f"{name} {weighting}", f"bias_{quantity}", values))
    return rows


def print_rows(config: Config, rows: Sequence[Row]) -> None:
    """The table in the terminal."""
    found = {(r["name"], r["metric"]): r for r in rows}

    def cell(name: str, metric: str) -> str:
        r = found[name, metric]
        return number(r["mean"], 3) + (f" ± {number(r['se'], 2)}" if r["se"] is not None else "")

    titles = ["case", "log-ratio RMSE", *(f"{ESTIMATES[q]} {w}" for q in ESTIMATES for w in WEIGHTINGS)]
    table = [
        [name, cell(name, "log_ratio_rmse"), *(cell(f"{name} {w}", f"bias_{q}") for q in ESTIMATES for w in WEIGHTINGS)]
        for name in (f"{case.name} n={n}" for case in config.data.cases for n in config.task.num_samples)
    ]
    print_table(f"bias (estimate − truth), mean ± standard error over {config.task.seeds} seeds", titles, table)
