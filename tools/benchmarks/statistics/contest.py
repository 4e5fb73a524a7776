"""Estimators of density ratios side by side on one pair of densities: errors of weighted means, and time."""

import time
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import numpy as np
import torch

from lfiw.tasks.results import row

from .estimates import functions
from .pairs import Case
from .peers import Estimator, installed
from .summary import LEVEL, holm

NUM_TRUTH = 1_000_000
UNIFORM = "uniform"


@dataclass(frozen=True)
class Contest:
    """Results on one pair of densities.

    Args:
        errors: estimator → (seeds,) mean over the functions of the squared error, in variances.
        seconds: estimator → (seeds,) CPU seconds of the process.
        failed: estimator → how many repetitions raised or gave weights that are not finite; there, the error is that of
            uniform weights.
    """

    name: str
    errors: dict[str, list[float]]
    seconds: dict[str, list[float]]
    failed: dict[str, int]


def compete(case: Case, seeds: Sequence[int], rows: int) -> Contest:
    """Runs all estimators on the same rows, seed by seed, with `rows` rows per side."""
    truth_rows = functions(case.p.sample(NUM_TRUTH, torch.Generator().manual_seed(1)))
    model_rows = functions(case.q.sample(NUM_TRUTH // 10, torch.Generator().manual_seed(2)))
    truth, scale = truth_rows.mean(0), ((truth_rows.var(0) + model_rows.var(0)) / 2).sqrt()
    errors: dict[str, list[float]] = defaultdict(list)
    seconds: dict[str, list[float]] = defaultdict(list)
    failed: dict[str, int] = defaultdict(int)
    for seed in seeds:
        generator = torch.Generator().manual_seed(1_000_003 * seed + 29)
        real, generated = case.p.sample(rows, generator), case.q.sample(rows, generator)
        values = ((functions(generated) - truth) / scale).numpy()

        def error(weights: np.ndarray, values: np.ndarray = values) -> float:
            return float(np.square(weights @ values / weights.sum()).mean())

        errors[UNIFORM].append(error(np.ones(rows)))
        errors["exact"].append(
            error(torch.softmax(case.p.log_density(generated) - case.q.log_density(generated), 0).numpy())
        )
        for estimate in installed():
            found, took = timed_weights(estimate, real.numpy(), generated.numpy(), seed)
            for name in NAMES[estimate.__name__]:
                weights = found.get(name, np.full(rows, np.nan))
                usable = np.isfinite(weights).all() and weights.sum() > 0
                failed[name] += not usable
                errors[name].append(error(weights if usable else np.ones(rows)))
                seconds[name].append(took)
    return Contest(case.name, dict(errors), dict(seconds), dict(failed))


def timed_weights(
    estimate: Estimator, real: np.ndarray, generated: np.ndarray, seed: int
) -> tuple[dict[str, np.ndarray], float]:
    """Returns an estimator's weights by name (empty if it raises) and its CPU seconds."""
    started = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = estimate(real, generated, seed)
    except Exception as problem:  # another package may raise anything; failures are counted
        print(f"seed {seed}: {estimate.__name__}: {problem!r:.200}", flush=True)
        found = {}
    return found, time.process_time() - started


NAMES = {  # function → names of its estimators
    "default": ("lfiw", "lfiw, plain ratio"),
    "boosting": ("lfiw boosting", "lfiw boosting, plain ratio"),
    "logistic_odds": ("logistic regression odds",),
    "rulsif": ("densratio RuLSIF",),
    "reweighter": ("hep_ml reweighter",),
    "kliep": ("skada KLIEP",),
}


def summarise(contests: Sequence[Contest]) -> list[dict[str, Any]]:
    """Returns rows per estimator over all pairs, then per pair."""
    names = [name for name in contests[0].errors if name not in (UNIFORM, "exact")]
    rows = [row("num_pairs", "count", [float(len(contests))])]
    relative = {
        name: [fmean(c.errors[name]) / fmean(c.errors[UNIFORM]) for c in contests] for name in [*names, "exact"]
    }
    for name in [*names, "exact"]:
        rows.append(row(name, "median_mse_over_uniform", [median(relative[name])]))
        rows.append(row(name, "significantly_worse_share", [fmean(map(float, significantly_worse(contests, name)))]))
    for name in names:
        others = [n for n in names if not n.startswith("lfiw")]
        best = [relative[name][i] <= min(relative[n][i] for n in others) for i in range(len(contests))]
        if name.startswith("lfiw"):
            rows.append(row(name, "lowest_of_peers_share", [fmean(map(float, best))]))
        rows.append(row(name, "seconds", [fmean(s) for s in (c.seconds[name] for c in contests)]))
        rows.append(row(name, "failed", [float(sum(c.failed[name] for c in contests))]))
    for contest in contests:
        rows += [row(contest.name, f"mse {name}", values) for name, values in contest.errors.items()]
    return rows


def significantly_worse(contests: Sequence[Contest], name: str) -> list[bool]:
    """Returns on which pairs the error exceeds that of uniform weights: one-sided paired t-tests, Holm-corrected."""
    from scipy.stats import ttest_rel

    p_values = []
    for contest in contests:
        ours, uniform = np.array(contest.errors[name]), np.array(contest.errors[UNIFORM])
        same = np.allclose(ours, uniform, rtol=1e-9, atol=0)
        p_values.append(1.0 if same else float(ttest_rel(ours, uniform, alternative="greater").pvalue))
    return holm(p_values, LEVEL)


def shown(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Returns the cells of the table of estimators."""
    found = {(r["name"], r["metric"]): r["mean"] for r in rows}
    names = [r["name"] for r in rows if r["metric"] == "median_mse_over_uniform"]

    def cell(name: str, metric: str, form: str) -> str:
        value = found.get((name, metric))
        return "–" if value is None else format(value, form)

    return [
        [
            name,
            cell(name, "median_mse_over_uniform", ".3f"),
            cell(name, "lowest_of_peers_share", ".0%"),
            cell(name, "significantly_worse_share", ".0%"),
            cell(name, "seconds", ".2f"),
        ]
        for name in names
    ]
