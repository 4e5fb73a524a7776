"""The ratio of known densities: learned against exact class probabilities."""

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from pytorch_lightning.loggers import Logger
from scipy.special import gammaln, hyp1f1, ndtr
from torch import Tensor
from torch.distributions import MultivariateNormal

from lfiw.data.batches import mix_seeds
from lfiw.data.table import TensorTable
from lfiw.errors import InputError
from lfiw.evaluation.plots import save
from lfiw.evaluation.plots.style import BLUE, INK, UNIFORM, UNIFORM_LINE, dressed, new_figure
from lfiw.evaluation.tables import number, print_table
from lfiw.ratio.classifier import RatioClassifier
from lfiw.ratio.cross_fitting import parts_of, train_classifier
from lfiw.ratio.mixed import MixedDataModule
from lfiw.schemas import Config, Run, ToyCase, ToyData
from lfiw.tasks.results import Row, read_record, row, write_study
from lfiw.training import tracking
from lfiw.training.progress import with_progress
from lfiw.training.trainer import CHECKPOINTS, best_checkpoint
from lfiw.weighting.weights import Weighting


@dataclass(frozen=True)
class Mixture:
    """Σ_k π_k N(μ_k, s_k² I) in d dimensions, float64.

    Args:
        means: μ_k, each of length d; two components.
        scales: s_k > 0.
        proportions: π_k, summing to 1.
        valley: half-width of the slab half-way between the two modes, perpendicular to the line through them.

    Raises:
        InputError: lengths do not match, proportions do not sum to 1, or the means are equal.
    """

    means: Sequence[Sequence[float]]
    scales: Sequence[float]
    proportions: Sequence[float]
    valley: float

    def __post_init__(self) -> None:
        sizes = {len(mean) for mean in self.means}
        if len(self.means) != 2 or len(sizes) != 1 or not len(self.means) == len(self.scales) == len(self.proportions):
            raise InputError(
                f"a toy case needs two means of one length, two scales and two proportions, not means={self.means}, "
                f"scales={self.scales}, proportions={self.proportions}"
            )
        if abs(sum(self.proportions) - 1) > 1e-9 or self.means[0] == self.means[1]:
            raise InputError(f"the two means must differ and proportions={self.proportions} sum to 1")

    @property
    def dimension(self) -> int:
        return len(self.means[0])

    def sample(self, num: int, generator: torch.Generator) -> Float[Tensor, "num d"]:
        component = torch.multinomial(self._tensor(self.proportions), num, replacement=True, generator=generator)
        noise = torch.randn(num, self.dimension, dtype=torch.float64, generator=generator)
        return self._tensor(self.means)[component] + self._tensor(self.scales)[component, None] * noise

    def log_density(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        scales = self._tensor(self.scales)
        square = (x[:, None, :] - self._tensor(self.means)).square().sum(-1) / scales.square()
        log_normal = -0.5 * square - self.dimension * (scales.log() + 0.5 * math.log(2 * math.pi))
        return torch.logsumexp(log_normal + self._tensor(self.proportions).log(), dim=1)

    @property
    def mean(self) -> Float[Tensor, " d"]:
        return (self._tensor(self.proportions)[:, None] * self._tensor(self.means)).sum(0)

    def in_valley(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, " n"]:
        """Whether a point lies in the slab between the modes."""
        direction, middle = self._axis()
        return ((x - middle) @ direction).abs() < self.valley

    def valley_probability(self) -> float:
        """Returns P(x in the slab): along the line through the modes each component is a one-dimensional Gaussian."""
        direction, middle = self._axis()
        total = 0.0
        for mean, scale, share in zip(self._tensor(self.means), self.scales, self.proportions, strict=True):
            offset = float((mean - middle) @ direction)
            total += share * float(ndtr((self.valley - offset) / scale) - ndtr((-self.valley - offset) / scale))
        return total

    def distance(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Computes |x − μ|, the distance from the mixture's mean."""
        return (x - self.mean).norm(dim=1)

    def mean_distance(self) -> float:
        """Returns E|x − μ|.

        A component's distance is s times a noncentral χ variable of d degrees of freedom, whose mean is
        √2 Γ((d+1)/2)/Γ(d/2) · ₁F₁(−1/2; d/2; −λ²/2), with λ = |μ_k − μ|/s_k (Park 1961).
        """
        d, total = self.dimension, 0.0
        factor = math.sqrt(2) * math.exp(gammaln((d + 1) / 2) - gammaln(d / 2))
        for mean, scale, share in zip(self._tensor(self.means), self.scales, self.proportions, strict=True):
            noncentrality = float((mean - self.mean).norm()) / scale
            total += share * scale * factor * float(hyp1f1(-0.5, d / 2, -(noncentrality**2) / 2))
        return total

    def _axis(self) -> tuple[Tensor, Tensor]:
        first, second = self._tensor(self.means)
        return (second - first) / (second - first).norm(), (first + second) / 2

    @staticmethod
    def _tensor(values: Sequence[float] | Sequence[Sequence[float]]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64)


class FittedGaussian:
    """The Gaussian with the mean and covariance (maximum likelihood) of samples."""

    def __init__(self, samples: Float[Tensor, "n d"]) -> None:
        centred = samples - samples.mean(0)
        self.mean = samples.mean(0)
        self.scale = torch.linalg.cholesky(centred.T @ centred / len(samples))

    def sample(self, num: int, generator: torch.Generator) -> Float[Tensor, "num d"]:
        noise = torch.randn(num, len(self.mean), dtype=torch.float64, generator=generator)
        return self.mean + noise @ self.scale.T

    def log_density(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return MultivariateNormal(self.mean, scale_tril=self.scale).log_prob(x)


def toy_probabilities(
    groups: Mapping[tuple[str, int], Sequence[tuple[Float[Tensor, " n"], Float[Tensor, " n"]]]],
) -> Figure:
    """Plots learned against Bayes-optimal class probability, mean and 95 % band over seeds, per case and size.

    Args:
        groups: (case, n) → per seed, the exact and the learned probability of the same samples.
    """
    cases = list(dict.fromkeys(case for case, _ in groups))
    sizes = list(dict.fromkeys(n for _, n in groups))
    figure = new_figure(3 * len(sizes), 3 * len(cases))
    panels = np.array(figure.subplots(len(cases), len(sizes), sharex=True, sharey=True, squeeze=False))
    for i, j in itertools.product(range(len(cases)), range(len(sizes))):
        dressed(panels[i, j])
    edges = torch.linspace(0, 1, 21, dtype=torch.float64)
    for (case, n), seeds in groups.items():
        axes = panels[cases.index(case), sizes.index(n)]
        curves = np.stack([binned_means(exact, learned, edges) for exact, learned in seeds])
        centres = ((edges[1:] + edges[:-1]) / 2).numpy()
        shown = ~np.isnan(curves).all(axis=0)
        low, high = np.nanpercentile(curves[:, shown], [2.5, 97.5], axis=0)
        axes.plot([0, 1], [0, 1], color=UNIFORM, linewidth=1, linestyle=UNIFORM_LINE)
        axes.fill_between(centres[shown], low, high, color=BLUE, alpha=0.25, linewidth=0)
        axes.plot(centres[shown], np.nanmean(curves[:, shown], axis=0), color=BLUE)
        axes.set_title(f"{case}, n = {n}, {len(seeds)} seeds", fontsize=10)
    figure.supxlabel("Bayes-optimal probability of real", fontsize=10, color=INK)
    figure.supylabel("learned probability of real", fontsize=10, color=INK)
    return figure


def binned_means(x: Float[Tensor, " n"], y: Float[Tensor, " n"], edges: Float[Tensor, " b"]) -> Float[np.ndarray, " _"]:
    """Computes the mean of y per bin of x; nan for an empty bin."""
    index = (torch.bucketize(x, edges) - 1).clamp(0, len(edges) - 2)
    count = torch.bincount(index, minlength=len(edges) - 1).double()
    return (torch.bincount(index, weights=y, minlength=len(edges) - 1) / count).numpy()


ESTIMATES = {"valley": "P(valley)", "distance": "E|x − μ|"}
WEIGHTINGS = ("uniform", "learned", "exact")


@dataclass(frozen=True)
class Repetition:
    """The outcome of one fitted Gaussian and one classifier.

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
    """Repeats every case at every size `task.seeds` times.

    Returns:
        Metrics by name, and the objects `rows`, as in toy.json in the run folder, and `picture`, the PNG file.

    Raises:
        InputError: no case or no size is given.
    """
    started = time.perf_counter()
    if not isinstance(config.data, ToyData):
        raise InputError(f"task=toy needs data=toy, not {config.data.name}")
    if not config.data.cases or not config.task.num_samples:
        raise InputError("task=toy needs a case in data.cases and a size in task.num_samples")
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
    for case, n, seed in with_progress(plan, "toy", shown=config.trainer.progress):
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
    """Prints the run's table again; nothing is computed. Returns as `run`.

    Raises:
        InputError: the run did not finish.
    """
    rows = read_record(run_dir / "toy.json", "run train.py experiment=toy again")["rows"]
    print_rows(config, rows)
    return as_metrics(rows), {"rows": rows}


def as_metrics(rows: Sequence[Row]) -> dict[str, float]:
    return {f"{r['name']}/{r['metric']}".replace(" ", "/"): r["mean"] for r in rows}


def repeat(config: Config, case: ToyCase, n: int, seed: int, folder: Path) -> Repetition:
    """Fits the Gaussian to n samples, trains on n per side, and weights fresh samples of the Gaussian."""
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
    silent = replace(config, resume=None, trainer=replace(config.trainer, progress=False))
    train_classifier(datamodule, seed=seed, run_dir=folder, **parts_of(silent))
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
    """Returns the options that `MixedDataModule` takes."""
    options = asdict(data)
    for own in ("name", "cases", "num_evaluation"):
        del options[own]
    return options


def summarise(name: str, group: Sequence[Repetition]) -> list[Row]:
    """Returns the rows of one case and size: each estimate's bias, and the log-ratio's error."""
    rows = [row(name, "log_ratio_rmse", [r.log_ratio_error for r in group])]
    for quantity in ESTIMATES:
        for weighting in WEIGHTINGS:
            values = [r.errors[weighting, quantity] for r in group]
            rows.append(row(f"{name} {weighting}", f"bias_{quantity}", values))
    return rows


def print_rows(config: Config, rows: Sequence[Row]) -> None:
    """Prints the table."""
    by_name = {(r["name"], r["metric"]): r for r in rows}

    def cell(name: str, metric: str) -> str:
        r = by_name[name, metric]
        return number(r["mean"], 3) + (f" ± {number(r['se'], 2)}" if r["se"] is not None else "")

    titles = ["case", "log-ratio RMSE", *(f"{ESTIMATES[q]} {w}" for q in ESTIMATES for w in WEIGHTINGS)]
    table = [
        [name, cell(name, "log_ratio_rmse"), *(cell(f"{name} {w}", f"bias_{q}") for q in ESTIMATES for w in WEIGHTINGS)]
        for name in (f"{case.name} n={n}" for case in config.data.cases for n in config.task.num_samples)
    ]
    print_table(f"bias (estimate − truth), mean ± standard error over {config.task.seeds} seeds", titles, table)
