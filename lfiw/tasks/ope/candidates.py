"""Corrected estimates of one policy's return, and the choice among them without knowing the truth."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lfiw.tasks.ope.estimators import (
    Interval,
    bootstrap_interval,
    flatten_by_ess,
    horizon_by_ess,
    model_based,
    per_decision,
    trajectory_weighted,
)
from lfiw.tasks.ope.simulation import Simulated
from lfiw.weighting.diagnostics import half_width

UNCORRECTED, RESAMPLED, AVERAGED, AUTO = "uncorrected", "resampled", "averaged", "auto"
MEAN = "mean of the model"  # takes the mean at each step, without the ratio: the effect of averaging alone
WAYS = (UNCORRECTED, RESAMPLED, AVERAGED, MEAN)  # to simulate a policy; the uncorrected one first
DO_NOTHING = "do nothing"  # the behaviour policy's return, taken for the evaluation policy's
ANCHORED = ", anchored"  # after one of them
OF_EPISODES, OF_STEPS = "importance sampling", "importance sampling, per-decision"
PAPER_HORIZON = 80  # of the paper's truncated estimate, as recalled

Rows = Int64[Tensor, " n"]


@dataclass(frozen=True)
class Estimate:
    """A return and its bootstrap interval over trajectories (and members of the ensemble, if there are any)."""

    value: float
    interval: Interval | None = None


def model_estimates(
    simulated: Mapping[str, Simulated], min_ess: float, repetitions: int, generator: torch.Generator
) -> dict[str, Estimate]:
    """Computes every estimate that one policy's trajectories in the dynamics model allow.

    Args:
        simulated: by the names of `WAYS`; the uncorrected ones with their log-ratios.
        min_ess: least effective sample size of weights, for the estimates that it decides about.
    """
    plain = simulated[UNCORRECTED]
    log_ratio, rewards = plain.log_ratio, plain.reward
    horizon, alpha = horizon_by_ess(log_ratio, min_ess), flatten_by_ess(log_ratio, min_ess)
    steps = log_ratio.shape[1]
    paper = min(PAPER_HORIZON, steps)
    weighted: dict[str, Callable[[Rows], Tensor]] = {
        "trajectory": lambda rows: trajectory_weighted(log_ratio[rows], rewards[rows]),
        f"trajectory, first {paper}": lambda rows: trajectory_weighted(log_ratio[rows], rewards[rows], paper),
        "trajectory, H by ESS": lambda rows: trajectory_weighted(log_ratio[rows], rewards[rows], horizon),
        "trajectory, smoothed": lambda rows: trajectory_weighted(log_ratio[rows], rewards[rows], smooth=True),
        "per-decision": lambda rows: per_decision(log_ratio[rows], rewards[rows]),
        "per-decision, H by ESS": lambda rows: per_decision(log_ratio[rows], rewards[rows], horizon),
        "per-decision, smoothed": lambda rows: per_decision(log_ratio[rows], rewards[rows], smooth=True),
        "flattened by ESS": lambda rows: trajectory_weighted(alpha * log_ratio[rows], rewards[rows]),
    }
    estimates = {
        name: estimated(function, len(rewards), plain.member, repetitions, generator)
        for name, function in weighted.items()
    }
    means = {name: mean_return(of, repetitions, generator) for name, of in simulated.items()}
    return {UNCORRECTED: means.pop(UNCORRECTED), **estimates, **means}


def mean_return(simulated: Simulated, repetitions: int, generator: torch.Generator) -> Estimate:
    """Computes the mean return of unweighted trajectories."""
    rewards = simulated.reward
    return estimated(lambda rows: model_based(rewards[rows]), len(rewards), simulated.member, repetitions, generator)


def do_nothing(known: Float[Tensor, " n"], repetitions: int, generator: torch.Generator) -> Estimate:
    """Takes the mean of the behaviour policy's returns: a control that every estimate should beat."""
    returns = known.double()
    return estimated(lambda rows: returns[rows].mean(), len(returns), None, repetitions, generator)


def anchored(
    evaluation: Simulated,
    behaviour: Simulated,
    known: Float[Tensor, " n"],
    repetitions: int,
    generator: torch.Generator,
) -> Estimate:
    """Estimates v_b + (v̂_e − v̂_b): the known return and the simulated gain over it.

    The difference estimator of survey sampling (Särndal, Swensson and Wretman, Model Assisted Survey Sampling, 1992,
    section 6.3): what the model gets wrong about the behaviour policy is taken off.

    Args:
        evaluation, behaviour: trajectories of both policies, simulated in the same way.
        known: returns of the behaviour policy's real episodes, whose mean is v_b.
    """
    pairs, member = paired_returns(evaluation, behaviour)
    gains, real = pairs[:, 0] - pairs[:, 1], known.double()

    def resampled(rows: Rows) -> Float[Tensor, ""]:
        episodes = torch.randint(len(real), (len(real),), generator=generator)
        return real[episodes].mean() + gains[rows].mean()

    interval = bootstrap_interval(resampled, len(gains), members=member, repetitions=repetitions, generator=generator)
    return Estimate((real.mean() + gains.mean()).item(), interval)


def paired_returns(evaluation: Simulated, behaviour: Simulated) -> tuple[Float[Tensor, "n 2"], Int64[Tensor, " n"]]:
    """Pairs the returns under both policies by the member that simulated them; returns the pairs and their members.

    A bootstrap then draws the same members for both. If some trajectories of one policy diverged, as many of the
    other's are left out.
    """
    pairs, members = [], []
    for member in evaluation.member.unique().tolist():
        both = [of.reward[of.member == member].double().sum(1) for of in (evaluation, behaviour)]
        n = min(len(returns) for returns in both)
        pairs.append(torch.stack([returns[:n] for returns in both], dim=1))
        members.append(torch.full((n,), member))
    return torch.cat(pairs), torch.cat(members)


def estimated(
    function: Callable[[Rows], Float[Tensor, ""]],
    num_trajectories: int,
    members: Int64[Tensor, " n"] | None,
    repetitions: int,
    generator: torch.Generator,
) -> Estimate:
    """Evaluates a function of the trajectories on all of them, with its interval."""
    value = function(torch.arange(num_trajectories)).item()
    interval = bootstrap_interval(
        function, num_trajectories, members=members, repetitions=repetitions, generator=generator
    )
    return Estimate(value, interval)


def choose(gain: tuple[float, float]) -> tuple[str, str]:
    """Chooses how to simulate, averaged by the ratio or by the mean of the model, and says why.

    Either takes an expected outcome at each step. An outcome drawn from the model has the noise of the environment, and
    that of what its networks do not know besides, which carries states away from where the data are.

    The ratio is used if the lower 95 % bound of its KL gain is above zero: the corrected transition is then closer to
    the real one on the data.

    Args:
        gain: KL gain of the ratio per held-out transition, and its standard error, in nats.
    """
    reason = f"the ratio's KL gain per held-out transition is {gain[0]:.3g} ± {gain[1]:.2g} nats"
    return (AVERAGED if gain[0] > half_width(gain[1]) else MEAN), reason
