"""Examines one case over all seeds: ratios, weights, and the errors of corrected means."""

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from lfiw.metrics.influence import Contributions, terms
from lfiw.metrics.sample_size import MIN_DEGREES_OF_FREEDOM
from lfiw.metrics.selection import Judge, choose_by_kernel_distance
from lfiw.metrics.weighted_mean import SMOOTHED, weighted_mean
from lfiw.tasks.ope.dynamics import EnsembleMLP
from lfiw.weighting.calibration import fit_calibrator
from lfiw.weighting.diagnostics import effective_sample_size, half_width
from lfiw.weighting.gate import CORRECTS, UNIFORM
from lfiw.weighting.weights import Weighting, pareto_k

from .pairs import Case, Density

NUM_TRAIN, NUM_VALIDATION, NUM_EVALUATION = 2000, 8000, 10_000  # rows per side and seed
NUM_TRUTH, NUM_LIMIT = 1_000_000, 40_000
NUM_JUDGING = 1000  # rows per side on which the gate for scores compares weightings
FOR_SCORES, REAL_ROWS, COMBINED = "auto for scores", "real rows", "combined"
ESTIMATORS = (UNIFORM, "plain", "calibrated", "auto", FOR_SCORES, REAL_ROWS, COMBINED, "exact")
# of the ratio classifiers: small MLPs, trained for all seeds at once
WIDTH, STEPS, EVERY, PATIENCE, LEARNING_RATE, WEIGHT_DECAY = 64, 400, 20, 4, 3e-3, 0.01
BATCH = 500  # rows per side and step
KERNEL_SEEDS, KERNEL_DIMENSIONS, KERNEL_ROWS = 5, 4, 500  # upper limits for RuLSIF, which is slow


@dataclass(frozen=True)
class Found:
    """Results of one case.

    Args:
        errors: estimator → (seeds, functions): estimate − truth, in standard deviations. `auto` averages generated
            rows alone, and real validation rows only judge it; `combined` averages both. `RuLSIF` has fewer seeds, and
            is absent in higher dimensions.
        pareto_k, ess: (seeds,) k̂ and ESS of the plain weights.
        verdicts: (seeds,) verdicts of the gate for scores.
        covered, covered_by_few: (intervals,) whether a ratio-fixed 95 % interval of a smoothed mean contains the mean's
            limit; the second are the intervals that rest on too few rows to be nominal.
        held: kind of interval → (seeds, functions) whether it contains the truth.
    """

    case: Case
    errors: dict[str, Float[Tensor, "seeds functions"]]
    pareto_k: list[float]
    ess: list[float]
    verdicts: list[str]
    covered: list[bool]
    covered_by_few: list[bool]
    held: dict[str, Bool[Tensor, "seeds functions"]]


def functions(x: Float[Tensor, "n d"]) -> Float[Tensor, "n 7"]:
    """Computes the functions whose means are estimated.

    They are a coordinate, its square, its product with another, the scaled sum and the mean square of all coordinates,
    an indicator of the sum's tail, and a bounded curve.
    """
    first, everywhere = x[:, 0], x.mean(1) * x.shape[1] ** 0.5
    tail = (everywhere > 1.0).double()
    return torch.stack(
        [first, first.square(), first * x[:, -1], everywhere, x.square().mean(1), tail, torch.tanh(first + x[:, -1])],
        dim=1,
    )


def examine(case: Case, seeds: range) -> Found:
    """Draws, fits, weights and compares, seed by seed; the networks of all seeds are trained at once."""
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
    # from both sides: a tail indicator may be constant on one of them
    scale = ((truth_rows.var(0) + model_rows.var(0)) / 2).sqrt()
    on_validation, on_evaluation = [ratios(side) for side in validation], ratios(evaluation)
    limit_x, limit_log_ratios = limit_rows(case, ratios)
    limit_values = (functions(limit_x) - truth) / scale

    errors: dict[str, list[Tensor]] = {name: [] for name in ESTIMATORS}
    found = Found(case, {}, [], [], [], [], [], {})
    held: dict[str, list[Tensor]] = {kind: [] for kind in ("ratio fixed", "with the ratio's error", REAL_ROWS)}
    for i in range(len(seeds)):
        real, generated = (side[i] for side in on_validation)
        calibrator = fit_calibrator("temperature", real, generated)
        judge = standardised_judge(validation[0][i], validation[1][i], generated)
        choice = choose_by_kernel_distance([judge], real, generated, num_scored=NUM_EVALUATION)
        log_ratio, x = on_evaluation[i], evaluation[i]
        values, real_values = ((functions(rows) - truth) / scale for rows in (x, validation[0][i]))
        plain = Weighting()(log_ratio)
        means = weighted_mean(values, log_ratio, real=real_values)
        assert means.real is not None
        assert means.with_ratio_error is not None
        assert means.auto is not None
        weights = {
            UNIFORM: torch.full_like(plain, 1 / len(plain)),
            "plain": plain,
            "calibrated": Weighting()(calibrator(log_ratio)),
            FOR_SCORES: choice.weighting(log_ratio),
            "exact": Weighting()(case.p.log_density(x) - case.q.log_density(x)),
        }
        for name, w in weights.items():
            errors[name].append(w @ values)
        for name, mean in (
            ("auto", means.auto),
            (REAL_ROWS, means.real.value),
            (COMBINED, means.with_ratio_error.value),
        ):
            errors[name].append(mean)
        for kind, interval in zip(held, (means.ratio_fixed, means.with_ratio_error, means.real), strict=True):
            held[kind].append(interval.holds(torch.zeros_like(interval.value)))
        found.pareto_k.append(pareto_k(log_ratio))
        found.ess.append(effective_sample_size(plain).item())
        found.verdicts.append(choice.verdict)
        if choice.verdict == CORRECTS:
            limit = SMOOTHED(limit_log_ratios[i]) @ limit_values
            for inside, degrees in intervals(values, SMOOTHED(log_ratio), limit):
                (found.covered if degrees >= MIN_DEGREES_OF_FREEDOM else found.covered_by_few).append(inside)
    found.errors.update({name: torch.stack(rows) for name, rows in errors.items()})
    found.held.update({kind: torch.stack(rows) for kind, rows in held.items()})
    if case.d <= KERNEL_DIMENSIONS:
        found.errors["RuLSIF"] = kernel_errors(train, evaluation, truth, scale)
    return found


def standardised_judge(real: Tensor, generated: Tensor, log_ratio: Tensor) -> Judge:
    """Returns the judge that sees the first validation rows, each coordinate in standard deviations."""
    both = torch.cat([real[:NUM_JUDGING], generated[:NUM_JUDGING]])
    mean, std = both.mean(0), both.std(0)
    of_real, of_generated = ((rows[:NUM_JUDGING] - mean) / std for rows in (real, generated))
    return Judge("the rows", of_real, of_generated, log_ratio[:NUM_JUDGING])


def intervals(values: Tensor, weights: Tensor, limit: Tensor) -> list[tuple[bool, float]]:
    """Returns per function whether its mean's 95 % interval contains the limit, and the degrees of freedom."""
    parts = terms(values, weights[:, None])
    found = Contributions(weights @ values, parts, parts[:0])
    # the limit is itself estimated, which adds a little variance
    scale_of_both = (1 + NUM_EVALUATION / NUM_LIMIT) ** 0.5
    gaps, errors, degrees = (found.score - limit).abs(), found.standard_errors(), found.degrees_of_freedom()
    of = zip(gaps.tolist(), errors.tolist(), degrees.tolist(), strict=True)
    return [(gap <= half_width(error, d) * scale_of_both, d) for gap, error, d in of]


@dataclass(frozen=True)
class Ratios:
    """One network per seed, each with two hidden layers.

    Args:
        mean, std: (seeds, 1, d) moments of the training rows.
    """

    net: EnsembleMLP
    mean: Tensor
    std: Tensor

    @torch.no_grad()
    def __call__(self, x: Float[Tensor, "seeds n d"]) -> Float[Tensor, "seeds n"]:
        """Returns log-ratios, float64."""
        return self.net(((x - self.mean) / self.std).float())[:, :, 0].double()


def fit(
    real: Float[Tensor, "seeds n d"],
    generated: Float[Tensor, "seeds n d"],
    validation_real: Float[Tensor, "seeds m d"],
    validation_generated: Float[Tensor, "seeds m d"],
    generator: torch.Generator,
) -> Ratios:
    """Minimises the balanced logistic loss by AdamW; each seed keeps the weights of lowest validation loss."""
    seeds, _, d = real.shape
    rows = torch.cat([real, generated], 1)
    mean, std = rows.mean(1, keepdim=True), rows.std(1, keepdim=True).clamp(min=1e-6)
    net = EnsembleMLP(seeds, d, 1, width=WIDTH, depth=2)
    for weight, bias in zip(net.weights, net.biases, strict=True):
        weight.data = torch.randn(weight.shape, generator=generator) / weight.shape[1] ** 0.5
        bias.data.zero_()
    groups = [{"params": net.weights, "weight_decay": WEIGHT_DECAY}, {"params": net.biases, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, fused=True)
    x, y, v, w = (((t - mean) / std).float() for t in (real, generated, validation_real, validation_generated))
    best, kept = torch.full((seeds,), torch.inf), deepcopy(net)
    since = 0
    for step in range(STEPS):
        if step % EVERY == 0:
            with torch.no_grad():
                loss = log_loss(net, v, w)
                better = loss < best
                best = torch.where(better, loss, best)
                for k, p in zip(kept.parameters(), net.parameters(), strict=True):
                    k[better] = p[better]
            since = 0 if better.any() else since + 1
            if since > PATIENCE:
                break
        optimizer.zero_grad()
        # the rows are independent draws: consecutive ones do for a batch
        chosen = slice(start := step * BATCH % x.shape[1], start + BATCH)
        log_loss(net, x[:, chosen], y[:, chosen]).sum().backward()
        optimizer.step()
    return Ratios(kept, mean, std)


def log_loss(net: EnsembleMLP, real: Tensor, generated: Tensor) -> Float[Tensor, " seeds"]:
    """Returns the log-loss per seed, in which each side counts half."""
    of_real = F.softplus(-net(real)[:, :, 0]).mean(1)
    return (of_real + F.softplus(net(generated)[:, :, 0]).mean(1)) / 2


def limit_rows(case: Case, ratios: Ratios) -> tuple[Tensor, Tensor]:
    """Draws many new generated rows, and computes every network's log-ratios of them."""
    x = case.q.sample(NUM_LIMIT, torch.Generator().manual_seed(2))
    seeds = len(ratios.mean)
    return x, torch.cat([ratios(block.expand(seeds, *block.shape)) for block in x.split(5000)], dim=1)


def kernel_errors(
    train: tuple[Tensor, Tensor], evaluation: Tensor, truth: Tensor, scale: Tensor
) -> Float[Tensor, "seeds functions"]:
    """Returns the errors of densratio's RuLSIF (Yamada et al. 2013), α = 0.1, for the first seeds."""
    from densratio import densratio

    errors: list[Tensor] = []
    for real, generated, x in zip(*(side[:KERNEL_SEEDS] for side in (*train, evaluation)), strict=True):
        fitted = densratio(real[:KERNEL_ROWS].numpy(), generated[:KERNEL_ROWS].numpy(), alpha=0.1, verbose=False)
        weights = torch.from_numpy(np.asarray(fitted.compute_density_ratio(x.numpy()))).clamp(min=0)
        errors.append(weights / weights.sum() @ ((functions(x) - truth) / scale))
    return torch.stack(errors)
