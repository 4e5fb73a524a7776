"""Resampled sets, compared with known densities, and scored without weights on digits and CIFAR-10."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lfiw.config import compose, load
from lfiw.data.batches import mix_seeds
from lfiw.errors import InputError
from lfiw.evaluation.record import EvaluationRecord
from lfiw.metrics import frechet_distance, inception_score, kernel_distance, precision_recall, weighted_moments
from lfiw.ratio.cross_fitting import log_ratio_column
from lfiw.ratio.digits import DigitsDataModule
from lfiw.ratio.mixed import MixedDataModule
from lfiw.tasks.inputs import build_datamodule, extractor_for
from lfiw.tasks.results import row
from lfiw.tasks.toy import FittedGaussian, Mixture
from lfiw.weighting.diagnostics import paired_interval
from lfiw.weighting.gate import AUTO
from lfiw.weighting.streaming import PoolSampler, resample
from lfiw.weighting.weights import Weighting

from .kept import Kept
from .repeated import Row, one_run
from .resampling_figure import draw

DATA = Mixture(means=[[-1.5], [1.5]], scales=[0.7, 0.7], proportions=[0.5, 0.5], valley=0.5)
POOLS = (1, 2, 4, 8, 16, 32, 64)
CANDIDATES, KEPT_DIGITS = 32_000, 700
KEPT_CIFAR10 = 5000
LOG_TIMES = np.linspace(-30, 30, 1201)  # grid of the integral over t, which is smooth on a log axis
PLAIN = Weighting()
SHORT = ["calibration=none", "evaluation.weightings=[]", "evaluation.reference=none", "evaluation.figures=false"]
SHORT += ["evaluation.intervals=false", "evaluation.permutations=0", "trainer.progress=false"]


def run(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Returns rows named <data>/<method>/<weighting>/<T>; T is candidates per chosen sample, or a percentile.

    CIFAR-10 uses the latest scored run of each seed of experiment=cifar10_gan; without one it is left out.
    """
    rows: list[Row] = kept.get(f"known densities, {4 * seeds} seeds", partial(known_densities, 4 * seeds))
    outcomes = [kept.get(f"digits, seed {s}", partial(digits, s, list(overrides))) for s in range(seeds)]
    rows += rows_of("digits", outcomes)
    folders = latest_of_each_seed(Path("runs") / "cifar10_gan")[:seeds]
    if not folders:
        print("no run of experiment=cifar10_gan here: CIFAR-10 is left out")
    else:
        rows += rows_of("cifar10", [cifar10(folder, seed, kept) for seed, folder in enumerate(folders)])
    return rows, [draw(rows, densities(), Path(mkdtemp()) / "sets.png")]


# known densities


def model_and_grid() -> tuple[FittedGaussian, np.ndarray]:
    """Returns the Gaussian with the mixture's moments, and a grid that covers its mass."""
    generator = torch.Generator().manual_seed(0)
    model = FittedGaussian(DATA.sample(100_000, generator))
    return model, np.linspace(-12, 12, 2401)


def densities() -> dict[str, np.ndarray]:
    """Returns the densities of data, model and resampled sets by pool size, on a grid `x`."""
    model, x = model_and_grid()
    points = torch.from_numpy(x)[:, None]
    log_data, log_model = DATA.log_density(points).numpy(), model.log_density(points).numpy()
    curves = {"x": x, "data": np.exp(log_data), "model": np.exp(log_model)}
    for pool_size in POOLS:
        curves[str(pool_size)] = finite_pool_density(x, curves["model"], log_data - log_model, pool_size)
    return curves


def finite_pool_density(
    x: NDArray[np.float64], model: NDArray[np.float64], log_ratio: NDArray[np.float64], pool_size: int
) -> NDArray[np.float64]:
    """Computes the density of one draw by sampling-importance-resampling from pools of T candidates.

    Both densities are known on an equally spaced grid that covers the model's mass. The density is T·q(x) E[w(x)/(w(x)
    + S)], S the weight of the other T − 1 candidates. With 1/(w + S) = ∫ exp(−(w + S)t) dt this is T·q(x) ∫ w(x)
    exp(−w(x)t) φ(t)^(T−1) dt, φ(t) = E_q[exp(−wt)].

    Args:
        x: grid.
        model: q(x).
        log_ratio: log w(x), any scale.
    """
    w = np.exp(log_ratio - np.average(log_ratio, weights=model))
    times = np.exp(LOG_TIMES)
    decay = np.exp(-np.outer(times, w))
    step = x[1] - x[0]
    others = (decay @ model * step) ** (pool_size - 1)
    return pool_size * model * w * np.trapezoid(decay * (others * times)[:, None], LOG_TIMES, axis=0)


def known_densities(seeds: int, num_samples: int = 2000) -> list[Row]:
    """Computes the mass in the valley, drawn and exact, and the total variation from the data, by pool size."""
    curves = densities()
    x, step = curves["x"], curves["x"][1] - curves["x"][0]
    valley = np.abs(x) <= DATA.valley + 1e-9
    model, _ = model_and_grid()
    rows = [row("toy/data", "valley", [DATA.valley_probability()])]
    for pool_size in POOLS:
        drawn = []
        for seed in range(seeds):
            generator = torch.Generator().manual_seed(1000 * pool_size + seed)
            candidates = model.sample(num_samples * pool_size, generator)
            log_ratio = DATA.log_density(candidates) - model.log_density(candidates)
            chosen = candidates[PoolSampler(pool_size, generator).step(log_ratio).kept - 1]  # pools of fresh candidates
            drawn.append(DATA.in_valley(chosen).double().mean().item())
        density = curves[str(pool_size)]
        name = f"toy/sir/exact/{pool_size}"
        rows.append(row(name, "valley", drawn))
        rows.append(row(name, "valley_exact", [float(np.trapezoid(density[valley], x[valley]))]))
        rows.append(row(name, "total_variation", [float(np.abs(density - curves["data"]).sum() * step / 2)]))
    return rows


# sets of samples and their scores


@dataclass(frozen=True)
class Bench:
    """The features of all candidates, and of the real rows against which sets are scored.

    Args:
        real, candidates: extractor → (rows, d), the main one first.
        probabilities: (candidates, classes).
        num_pairs: number of real rows for scores that compare pairs of rows.
    """

    real: dict[str, Tensor]
    candidates: dict[str, Tensor]
    probabilities: Tensor
    num_pairs: int

    @cached_property
    def moments(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Returns the real rows' moments by extractor."""
        return {name: weighted_moments(features) for name, features in self.real.items()}

    def scores(self, rows: Tensor) -> dict[str, float]:
        """Scores a set of candidates, including repeats, without weights."""
        found = {}
        for name, features in self.candidates.items():
            distance = frechet_distance(*self.moments[name], *weighted_moments(features[rows]))
            found["fid" if name == next(iter(self.real)) else f"fid@{name}"] = distance.item()
        main = next(iter(self.real))
        real, generated = self.real[main][: self.num_pairs], self.candidates[main][rows]
        found["kid"] = kernel_distance(real, generated).item()
        found |= {name: value.item() for name, value in precision_recall(real, generated).items()}
        found["is"] = inception_score(self.probabilities[rows]).item()
        found["distinct"] = len(rows.unique()) / len(rows)
        return found


@dataclass(frozen=True)
class Setting:
    """One way of making a set: T candidates per chosen sample (for rejection, the percentile of the shift)."""

    method: str
    weighting: str
    size: float

    @property
    def name(self) -> str:
        return self.method if self.method == "uniform" else f"{self.method}/{self.weighting}/{self.size:g}"


UNIFORM = Setting("uniform", "auto", 1)


def settings(
    weightings: Sequence[str], pools: Sequence[int], whole: Sequence[int] = (), percentiles: Sequence[float] = ()
) -> list[Setting]:
    """Lists settings: pools for SIR, the largest also for Metropolis–Hastings; `whole`: one pool of all."""
    listed = [UNIFORM]
    listed += [Setting("sir", weighting, size) for weighting in weightings for size in pools]
    listed += [Setting("mh", weighting, pools[-1]) for weighting in weightings]
    for method in ("systematic", "residual", "without-replacement"):
        listed += [Setting(method, "auto", size) for size in whole]
    return listed + [Setting("rejection", "auto", percentile) for percentile in percentiles]


def settings_of(weighting: Weighting) -> list[float]:
    return [weighting.flatten, weighting.clip, weighting.smooth]


def choose_rows(
    setting: Setting, log_ratio: Tensor, start: float, num: int, generator: torch.Generator
) -> tuple[Tensor, float] | None:
    """Chooses the rows of a set; returns them and the candidates scored per row, or None if there are too few."""
    size, order = setting.size, torch.randperm(len(log_ratio), generator=generator)
    if setting.method == "uniform":
        return order[:num], 1.0
    if setting.method == "mh":
        options: dict[str, Any] = {"pool": int(size), "start": start}
    elif setting.method == "sir":
        options = {"pool": int(size)}
    elif setting.method == "rejection":
        options = {"percentile": size}
    else:
        options, order = {}, order[: int(size * num)]
        if len(order) < size * num:
            return None
    try:
        resampled = resample(setting.method, log_ratio[order], num, generator, **options)
    except InputError:  # too few were accepted
        return None
    return order[resampled.rows], resampled.candidates / num


def score(
    bench: Bench,
    log_ratio: Tensor,
    start: float,
    weighting: Weighting,
    setting: Setting,
    num: int,
    generator: torch.Generator,
) -> dict[str, float] | None:
    """Scores one set and its cost; None if there are too few candidates."""
    real_start = weighting.unsmoothed.log_weights(torch.tensor([start], dtype=torch.float64)).item()
    outcome = choose_rows(setting, weighting.log_weights(log_ratio), real_start, num, generator)
    return None if outcome is None else {**bench.scores(outcome[0]), "candidates": outcome[1]}


# digits: as many fresh candidates as needed


def digits(seed: int, overrides: Sequence[str]) -> dict[str, Any]:
    """Trains one classifier and scores sets of its generator's fresh samples."""
    options = ["experiment=digits", f"seed={seed}", f"data.split_seed={seed}", *SHORT, *overrides]
    objects = one_run(options)
    datamodule: DigitsDataModule = objects["datamodule"]
    config = load(Path(objects["trainer"].default_root_dir)).config
    images = datamodule.generate(CANDIDATES, torch.Generator().manual_seed(10_000 + seed))
    real = datamodule.splits["evaluation"][0].column("image")
    extractors = {name: extractor_for(name, datamodule, config.features) for name in ("pixels", "classifier")}
    with torch.inference_mode():
        outputs = {name: extractor(images) for name, extractor in extractors.items()}
        bench = Bench(
            {name: extractor(real)["features"] for name, extractor in extractors.items()},
            {name: output["features"] for name, output in outputs.items()},
            torch.softmax(outputs["classifier"]["logits"].double(), 1),
            len(real),
        )
    log_ratio = objects["classifier"].log_ratio(images)
    start = objects["classifier"].log_ratio(real[:1]).item()
    weighting = EvaluationRecord.from_json(objects["record"]).named(AUTO).weighting
    sets = {}
    for number, setting in enumerate(settings(["auto"], POOLS[1:], (2, 8, 32), (80, 95))):
        generator = torch.Generator().manual_seed(mix_seeds(seed, number))
        sets[setting.name] = score(bench, log_ratio, start, weighting, setting, KEPT_DIGITS, generator)
    return {"auto": settings_of(weighting), "sets": sets}


# CIFAR-10: the samples in the cache


def latest_of_each_seed(folder: Path) -> list[Path]:
    """Returns, per seed, the latest scored run of the unchanged experiment whose log-ratios are in its caches."""
    latest: dict[int, Path] = {}
    for path in sorted(folder.glob("*/evaluation.json")):
        config = load(path.parent).config
        usual = compose([f"experiment={folder.name}", f"data.split_seed={config.data.split_seed}"]).config
        if (config.data, config.model, config.folds) != (usual.data, usual.model, usual.folds):
            continue  # a study varied them
        tables = build(path.parent).tables.values()
        if all(log_ratio_column(path.parent) in table.columns for table in tables):
            latest[config.seed] = path.parent
    return [latest[seed] for seed in sorted(latest)]


def build(run_dir: Path) -> MixedDataModule:
    config = load(run_dir).config
    return build_datamodule(config.data, config.seed, config.folds)


@dataclass(frozen=True)
class Run:
    """A run's generated evaluation rows: their log-ratios, those of the real rows, and the gate's choice."""

    bench: Bench
    log_ratio: Tensor
    real_log_ratio: Tensor
    auto: Weighting


@cache
def opened(run_dir: Path) -> Run:
    config, datamodule = load(run_dir).config, build(run_dir)
    extractors = {name: extractor_for(name, datamodule, config.features) for name in config.evaluation.extractors}
    classifier = extractor_for(config.metrics.inception_score.classifier or "resnet56", datamodule, config.features)
    datamodule.input = datamodule.samples  # the split needs no features
    datamodule.setup()
    real, generated = datamodule.splits["evaluation"]
    bench = Bench(
        {name: real.column(extractor.columns["features"]) for name, extractor in extractors.items()},
        {name: generated.column(extractor.columns["features"]) for name, extractor in extractors.items()},
        torch.softmax(generated.column(classifier.columns["logits"]).double(), 1),
        KEPT_CIFAR10,
    )
    column = log_ratio_column(run_dir)
    weighting = EvaluationRecord.read(run_dir / "evaluation.json").named(AUTO).weighting
    return Run(bench, generated.column(column), real.column(column), weighting)


def cifar10(run_dir: Path, seed: int, kept: Kept) -> dict[str, Any]:
    """Scores sets of one run's generated evaluation rows against the test images."""

    def one(number: int, setting: Setting) -> dict[str, float] | None:
        run, generator = opened(run_dir), torch.Generator().manual_seed(mix_seeds(seed, number))
        weighting = run.auto if setting.weighting == "auto" else PLAIN
        start = run.real_log_ratio[seed].item()
        return score(run.bench, run.log_ratio, start, weighting, setting, KEPT_CIFAR10, generator)

    chosen = settings(["auto", "plain"], (4, 16, 64))
    part = f"cifar10 by {run_dir.name}"
    sets = {
        setting.name: kept.get(f"{part}, {setting.name}", partial(one, number, setting))
        for number, setting in enumerate(chosen)
    }
    return {"auto": kept.get(f"{part}, auto", lambda: settings_of(opened(run_dir).auto)), "sets": sets}


# rows


def rows_of(data: str, found: Sequence[dict[str, Any]]) -> list[Row]:
    """Returns means over seeds, and paired differences to as many unweighted samples with 95 % intervals."""
    rows = [
        row(f"{data}/auto", name, [float(one["auto"][i]) for one in found])
        for i, name in enumerate(("flatten", "clip", "smooth"))
    ]
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for one in found:
        base = one["sets"]["uniform"]
        for name, scores in one["sets"].items():
            if scores is None:  # there were too few candidates
                continue
            for metric, value in scores.items():
                values[name, metric].append(value)
                if name != "uniform" and metric not in ("candidates", "distinct"):
                    values[name, f"difference_{metric}"].append(value - base[metric])
    return rows + [row(f"{data}/{name}", metric, v, **interval(v)) for (name, metric), v in values.items()]


def interval(values: Sequence[float]) -> dict[str, float]:
    """Returns a 95 % interval of the mean; empty for a single value."""
    return dict(zip(("low", "high"), paired_interval(values), strict=True)) if len(values) > 1 else {}
