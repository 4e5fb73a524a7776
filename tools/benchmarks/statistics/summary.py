"""Summarises all cases as the rows of results/statistics.json."""

from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

import numpy as np
from scipy.stats import ttest_rel

from lfiw.tasks.results import row
from lfiw.weighting.gate import CANNOT, CORRECTS, NOTHING, UNIFORM

from .estimates import COMBINED, ESTIMATORS, FOR_SCORES, REAL_ROWS, Found

LEVEL = 0.01  # Holm-corrected over the cases
HEAVY = 0.7  # k̂ above which plain weights are unreliable
TOLERANCE = 1.05


def squared_errors(found: Found, estimator: str) -> np.ndarray:
    """Returns per seed the mean over the functions of the squared error, in variances."""
    return found.errors[estimator].square().mean(1).numpy()


def summarise(cases: Sequence[Found]) -> list[dict[str, Any]]:
    """Returns shares over all cases, then a few rows per case."""
    mse = {name: [squared_errors(found, name).mean() for found in cases] for name in ESTIMATORS}
    worse = significantly_worse(cases)
    heavy = [i for i, found in enumerate(cases) if known_k(found) and median(known_k(found)) > HEAVY]

    def within(name: str, *others: str) -> list[bool]:
        return [bool(mse[name][i] <= TOLERANCE * min(mse[other][i] for other in others)) for i in range(len(cases))]

    rows = [
        row("num_cases", "count", [float(len(cases))]),
        row("num_seeds", "count", [float(len(cases[0].pareto_k))]),
        share("auto_significantly_worse_share", worse),
        share("plain_significantly_worse_share", significantly_worse(cases, "plain")),
        share("auto_mse_within_105_share", within("auto", UNIFORM, "plain")),
        share("plain_mse_within_105_share", within("plain", UNIFORM, "plain")),
        share("calibrated_mse_within_105_share", within("calibrated", UNIFORM, "plain")),
        share("combined_mse_within_105_share", within(COMBINED, REAL_ROWS, "plain")),
        row("median_mse_over_real_rows", COMBINED, [median(np.divide(mse[COMBINED], mse[REAL_ROWS]).tolist())]),
        share("auto_lower_mse_where_k_high_share", [bool(mse["auto"][i] < mse["plain"][i]) for i in heavy]),
        share("nothing_is_right_share", refusals_that_are_right(cases, NOTHING)),
        share("cannot_is_right_share", refusals_that_are_right(cases, CANNOT)),
        share("auto_for_scores_significantly_worse_share", significantly_worse(cases, FOR_SCORES)),
        share("auto_for_scores_mse_within_105_share", within(FOR_SCORES, UNIFORM, "plain")),
        *coverage_rows(cases),
        share("interval_coverage", [c for found in cases for c in found.covered]),
        share("interval_coverage_few_rows", [c for found in cases for c in found.covered_by_few]),
    ]
    corrigible = [i for i, u in enumerate(mse[UNIFORM]) if u > 4 * mse["exact"][i]]  # more bias than noise
    for name in ESTIMATORS[1:] if corrigible else ():
        reduction = [1 - (mse[name][i] / mse[UNIFORM][i]) ** 0.5 for i in corrigible]
        rows.append(row("median_bias_reduction", name, [median(reduction)], cases=len(corrigible)))
    kernel = [found for found in cases if "RuLSIF" in found.errors]
    for name in ("RuLSIF", "plain", "auto"):
        few = len(kernel[0].errors["RuLSIF"]) if kernel else 0
        ratios = [squared_errors(f, name)[:few].mean() / squared_errors(f, UNIFORM)[:few].mean() for f in kernel]
        if ratios:
            rows.append(row("median_mse_over_uniform_low_dimensions", name, [median(ratios)], cases=len(ratios)))
    for i, found in enumerate(cases):
        name = found.case.name
        rows += [row(name, f"mse_{estimator}", squared_errors(found, estimator).tolist()) for estimator in ESTIMATORS]
        if known_k(found):
            rows.append(row(name, "pareto_k", known_k(found)))
        rows.append(row(name, "ess", found.ess))
        rows += [row(name, f"says {v}", [float(w == v) for w in found.verdicts]) for v in dict.fromkeys(found.verdicts)]
        rows += [row(name, f"coverage {kind}", [held.double().mean().item()]) for kind, held in found.held.items()]
        rows.append(row(name, "auto_significantly_worse", [float(worse[i])]))
    return rows


def known_k(found: Found) -> list[float]:
    """Returns k̂ of the seeds that have one; discrete rows tie too often for an estimate."""
    return [k for k in found.pareto_k if k == k]


def coverage_rows(cases: Sequence[Found]) -> list[dict[str, Any]]:
    """Returns per kind of interval the mean and the lowest coverage of the truth.

    Only pairs count for which the gate says "corrects" in most seeds.
    """
    corrected = [f for f in cases if f.verdicts.count(CORRECTS) > len(f.verdicts) / 2]
    rows = []
    for kind in cases[0].held if corrected else ():
        of_pairs = [found.held[kind].double().mean().item() for found in corrected]
        rows.append(row(kind, "coverage", [fmean(of_pairs)], pairs=len(of_pairs)))
        rows.append(row(kind, "least_coverage", [min(of_pairs)], pairs=len(of_pairs)))
    return rows


def share(name: str, of: Sequence[bool]) -> dict[str, Any]:
    """Returns the row of a share of cases or repetitions; −1 if there are none."""
    return row(name, "share", [fmean(map(float, of)) if of else -1.0], of=len(of))


def significantly_worse(cases: Sequence[Found], estimator: str = "auto") -> list[bool]:
    """Returns in which cases the squared error exceeds that of uniform weights.

    One-sided paired t-tests over the seeds, Holm-corrected.
    """
    p_values = []
    for found in cases:
        ours, uniform = squared_errors(found, estimator), squared_errors(found, UNIFORM)
        # equal up to rounding in every seed: auto was uniform
        same = np.allclose(ours, uniform, rtol=1e-9, atol=0)
        p_values.append(1.0 if same else ttest_rel(ours, uniform, alternative="greater").pvalue)
    return holm(p_values, LEVEL)


def holm(p_values: Sequence[float], level: float) -> list[bool]:
    """Returns which hypotheses are rejected at this family-wise level (Holm 1979), from the smallest p-value up."""
    rejected = [False] * len(p_values)
    for rank, i in enumerate(np.argsort(p_values)):
        if p_values[i] > level / (len(p_values) - rank):
            break
        rejected[i] = True
    return rejected


def refusals_that_are_right(cases: Sequence[Found], word: str) -> list[bool]:
    """Returns, for each seed with this verdict, whether plain weights were no better than uniform ones."""
    right = []
    for found in cases:
        plain, uniform = squared_errors(found, "plain"), squared_errors(found, UNIFORM)
        for verdict, p, u in zip(found.verdicts, plain, uniform, strict=True):
            if verdict == word:
                right.append(bool(u <= p))
    return right
