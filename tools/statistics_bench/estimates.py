"""One case over all seeds: ratios, weights, and the errors of corrected means."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lfiw.calibration import fit_calibrator
from lfiw.diagnostics import effective_sample_size
from lfiw.intervals.contributions import Contributions, terms
from lfiw.intervals.sample_size import MIN_DEGREES_OF_FREEDOM
from lfiw.pareto import pareto_k
from lfiw.selection import UNIFORM, choose, choose_for_means
from lfiw.statistics import half_width
from lfiw.weights import Weighting

from .cases import Case
from .densities import Density
from .ratio import Ratios, fit

NUM_TRAIN, NUM_VALIDATION, NUM_EVALUATION = 2000, 8000, 10_000  # rows a side and seed
NUM_TRUTH, NUM_LIMIT = 1_000_000, 40_000
FOR_SCORES = "auto for scores"
ESTIMATORS = (UNIFORM, "plain", "calibrated", "auto", FOR_SCORES, "exact")
KERNEL_SEEDS, KERNEL_DIMENSIONS, KERNEL_ROWS = 5, 4, 500  # of RuLSIF, which is slow: that many, at most


@dataclass(frozen=True)
class Found:
    """What one case gave.

    Args:
        errors: estimator → (seeds, functions): estimate − truth, in standard deviations. `RuLSIF` has fewer
            seeds, and is absent in higher dimensions.
        pareto_k, ess: (seeds,) of the plain weights.
        verdicts, verdicts_for_scores: of the gate for means and of that for scores, one a seed.
        covered, covered_by_few: (intervals,) whether 95 % intervals of means under auto's weights hold their limit:
            of those that are nominal, and of those that rest on few rows.
    """

    case: Case
    errors: dict[str, Float[Tensor, "seeds functions"]]
    pareto_k: list[float]
    ess: list[float]
    verdicts: list[str]
    verdicts_for_scores: list[str]
    covered: list[bool]
    covered_by_few: list[bool]


def functions(x: Float[Tensor, "n d"]) -> Float[Tensor, "n 7"]:
    """What is averaged: a coordinate, its square, its product with another, the sum and the mean square of all, a tail
    of the sum, a bounded curve."""
    first, everywhere = x[:, 0], x.mean(1) * x.shape[1] ** 0.5
    tail = (everywhere > 1.0).double()
    return torch.stack(
        [first, first.square(), first * x[:, -1], everywhere, x.square().mean(1), tail, torch.tanh(first + x[:, -1])],
        dim=1,
    )


def examine(case: Case, seeds: range) -> Found:
    """Draw, fit, weight and compare, seed by seed; the networks of all seeds are trained at once."""
    generators = [torch.Generator().manual_seed(1_000_003 * seed + 17) for seed in seeds]

    def draw(density: Density, n: int) -> Float[Tensor, "seeds n d"]:
        return torch.stack([density.sample(n, g) for g in generators])

    train = draw(case.p, NUM_TRAIN), draw(case.q, NUM_TRAIN)
    validation = draw(case.p, NUM_VALIDATION), draw(case.q, NUM_VALIDATION)
    evaluation = draw(case.q, NUM_EVALUATION)
    ratios = fit(*train, *validation, generators[0])
    truth_rows = functions(case.p.sample(NUM_TRUTH, torch.Generator().manual_seed(1)))
    model_rows = functions(case.q.sample(NUM_TRUTH // 10, torch.Generator().manual_seed(2)))
    truth = truth_rows.mean(0)
    # of both sides: a tail that holds all of one side is constant there
    scale = ((truth_rows.var(0) + model_rows.var(0)) / 2).sqrt()
    on_validation = [ratios(side) for side in validation]
    on_evaluation = ratios(evaluation)

    errors: dict[str, list[Tensor]] = {name: [] for name in ESTIMATORS}
    ks, sizes, verdicts, verdicts_for_scores = [], [], [], []
    covered: list[bool] = []
    covered_by_few: list[bool] = []
    limits = limit_rows(case, ratios)
    for i in range(len(seeds)):
        real, generated = (side[i] for side in on_validation)
        calibrator = fit_calibrator("temperature", real, generated)
        choice, for_scores = choose_for_means(real, generated), choose(real, generated)
        log_ratio, x = on_evaluation[i], evaluation[i]
        values = (functions(x) - truth) / scale
        plain = Weighting()(log_ratio)
        calibrated = Weighting()(calibrator(log_ratio))
        auto = choice.weighting(log_ratio)
        exact = Weighting()(case.p.log_density(x) - case.q.log_density(x))
        uniform = torch.full_like(plain, 1 / len(plain))
        columns = (uniform, plain, calibrated, auto, for_scores.weighting(log_ratio), exact)
        for name, w in zip(ESTIMATORS, columns, strict=True):
            errors[name].append(w @ values)
        ks.append(pareto_k(log_ratio))
        sizes.append(effective_sample_size(plain).item())
        verdicts.append(choice.verdict)
        verdicts_for_scores.append(for_scores.verdict)
        if choice.weighting.flatten > 0:
            limit_x, limit_log_ratio = limits[0], limits[1][i]
            limit_weights = choice.weighting(limit_log_ratio)
            limit = limit_weights @ ((functions(limit_x) - truth) / scale)
            # the limit's own noise is small beside the interval, but not nothing
            parts = terms(values, auto[:, None])
            found = Contributions(auto @ values, parts, parts[:0])
            scale_of_both = (1 + NUM_EVALUATION / NUM_LIMIT) ** 0.5
            of = zip(
                (found.score - limit).abs().tolist(),
                found.standard_errors().tolist(),
                found.degrees_of_freedom().tolist(),
                strict=True,
            )
            for gap, error, degrees in of:
                inside = gap <= half_width(error, degrees) * scale_of_both
                (covered if degrees >= MIN_DEGREES_OF_FREEDOM else covered_by_few).append(inside)
    stacked = {name: torch.stack(rows) for name, rows in errors.items()}
    if case.d <= KERNEL_DIMENSIONS:
        stacked["RuLSIF"] = kernel_errors(train, evaluation, truth, scale)
    return Found(case, stacked, ks, sizes, verdicts, verdicts_for_scores, covered, covered_by_few)


def limit_rows(case: Case, ratios: Ratios) -> tuple[Tensor, Tensor]:
    """Many fresh generated rows, and every network's log-ratios of them."""
    x = case.q.sample(NUM_LIMIT, torch.Generator().manual_seed(2))
    seeds = len(ratios.mean)
    return x, torch.cat([ratios(block.expand(seeds, *block.shape)) for block in x.split(5000)], dim=1)


def kernel_errors(
    train: tuple[Tensor, Tensor], evaluation: Tensor, truth: Tensor, scale: Tensor
) -> Float[Tensor, "seeds functions"]:
    """Errors by the relative ratio of densratio's RuLSIF (Yamada et al. 2013), α = 0.1, of the first seeds."""
    from densratio import densratio

    errors: list[Tensor] = []
    for real, generated, x in zip(*train, evaluation, strict=True):
        if len(errors) == KERNEL_SEEDS:
            break
        fitted = densratio(real[:KERNEL_ROWS].numpy(), generated[:KERNEL_ROWS].numpy(), alpha=0.1, verbose=False)
        weights = torch.from_numpy(np.asarray(fitted.compute_density_ratio(x.numpy()))).clamp(min=0)
        errors.append(weights / weights.sum() @ ((functions(x) - truth) / scale))
    return torch.stack(errors)
