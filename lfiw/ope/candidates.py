"""The corrected estimates of one policy's return that are compared, and the choice among them without the truth."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lfiw.ope.estimators import (
    Interval,
    bootstrap_interval,
    flatten_by_ess,
    horizon_by_ess,
    model_based,
    per_decision,
    trajectory_weighted,
)
from lfiw.ope.simulation import Simulated
from lfiw.selection import CONFIDENCE

UNCORRECTED, RESAMPLED, AUTO = "uncorrected", "resampled", "auto"
PAPER_HORIZON = 80  # of the paper's truncated estimate, as recalled

Rows = Int64[Tensor, " n"]


@dataclass(frozen=True)
class Estimate:
    """A return, and its bootstrap interval over trajectories (and members of the ensemble, where there are any)."""

    value: float
    interval: Interval | None = None


def model_estimates(
    plain: Simulated, resampled: Simulated, min_ess: float, repetitions: int, generator: torch.Generator
) -> dict[str, Estimate]:
    """Every estimate that the dynamics model allows.

    Args:
        plain: simulated trajectories with their log-ratios.
        resampled: trajectories whose steps were chosen by the ratio.
        min_ess: effective sample size that weights must keep where it decides.
    """
    log_ratio, rewards = plain.log_ratio, plain.reward
    horizon, alpha = horizon_by_ess(log_ratio, min_ess), flatten_by_ess(log_ratio, min_ess)
    steps = log_ratio.shape[1]
    paper = min(PAPER_HORIZON, steps)
    functions: dict[str, tuple[Simulated, Callable[[Rows], Tensor]]] = {
        UNCORRECTED: (plain, lambda rows: model_based(rewards[rows])),
        "trajectory": (plain, lambda rows: trajectory_weighted(log_ratio[rows], rewards[rows])),
        f"trajectory, first {paper}": (plain, lambda rows: trajectory_weighted(log_ratio[rows], rewards[rows], paper)),
        "trajectory, H by ESS": (plain, lambda rows: trajectory_weighted(log_ratio[rows], rewards[rows], horizon)),
        "trajectory, smoothed": (plain, lambda rows: trajectory_weighted(log_ratio[rows], rewards[rows], smooth=True)),
        "per-decision": (plain, lambda rows: per_decision(log_ratio[rows], rewards[rows])),
        "per-decision, H by ESS": (plain, lambda rows: per_decision(log_ratio[rows], rewards[rows], horizon)),
        "per-decision, smoothed": (plain, lambda rows: per_decision(log_ratio[rows], rewards[rows], smooth=True)),
        "flattened by ESS": (plain, lambda rows: trajectory_weighted(alpha * log_ratio[rows], rewards[rows])),
        RESAMPLED: (resampled, lambda rows: model_based(resampled.reward[rows])),
    }
    return {
        name: estimated(function, len(source.reward), source.member, repetitions, generator)
        for name, (source, function) in functions.items()
    }


def estimated(
    function: Callable[[Rows], Float[Tensor, ""]],
    num_trajectories: int,
    members: Int64[Tensor, " n"] | None,
    repetitions: int,
    generator: torch.Generator,
) -> Estimate:
    """A function of the trajectories, of all of them and with its interval."""
    value = function(torch.arange(num_trajectories)).item()
    interval = bootstrap_interval(
        function, num_trajectories, members=members, repetitions=repetitions, generator=generator
    )
    return Estimate(value, interval)


def choose(
    of_behaviour: Mapping[str, Estimate],
    known: Float[Tensor, " n"],
    gain: tuple[float, float],
) -> tuple[str, str]:
    """Whether to correct, and why: by held-out transitions, and by the return that the data hold.

    The correction that `auto` may take is `resampled`, which multiplies no weights. It is taken if, first, the lower
    95 % bound of the KL gain of single transitions is above zero: the corrected transition is then nearer to the real
    one where the data are; and if, second, it does not get the behaviour policy's return, which the model simulates
    too, farther from the real episodes' than the uncorrected estimate does, beyond noise (95 %). The evaluation
    policy's real return is not looked at.

    Args:
        of_behaviour: estimates of the behaviour policy's return.
        known: returns of its real episodes.
        gain: KL gain of the ratio on held-out transitions, and its standard error, in nats.
    """
    real, real_error = known.mean().item(), (known.std() / len(known) ** 0.5).item()
    plain, corrected = of_behaviour[UNCORRECTED], of_behaviour[RESAMPLED]
    excess = abs(corrected.value - real) - abs(plain.value - real)
    noise = CONFIDENCE * sum(e * e for e in (real_error, standard_error(plain), standard_error(corrected))) ** 0.5
    lower = gain[0] - CONFIDENCE * gain[1]
    told = (
        f"KL gain of a transition {gain[0]:.3g} ± {gain[1]:.2g} nats; the behaviour policy's return is {real:.4g}, "
        f"{UNCORRECTED} {plain.value:.4g}, {RESAMPLED} {corrected.value:.4g}"
    )
    return (RESAMPLED if lower > 0 and excess <= noise else UNCORRECTED), told


def standard_error(estimate: Estimate) -> float:
    """By bootstrap; 0 where there is none."""
    return estimate.interval.standard_error if estimate.interval else 0.0
