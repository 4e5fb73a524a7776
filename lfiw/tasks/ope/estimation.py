"""All estimates of a policy's return that the behaviour policy's episodes allow, and one from several of them."""

from dataclasses import asdict
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lfiw.data.batches import mix_seeds
from lfiw.schemas import OpeTask
from lfiw.tasks.ope.baselines import (
    DOUBLY_ROBUST,
    FITTED_Q,
    IMPORTANCE_SAMPLING,
    doubly_robust_by_model,
    fitted_q,
    importance_sampling,
    policy_log_ratio,
)
from lfiw.tasks.ope.candidates import (
    ANCHORED,
    AUTO,
    DO_NOTHING,
    UNCORRECTED,
    WAYS,
    Estimate,
    anchored,
    do_nothing,
    estimated,
    model_estimates,
    paired_returns,
)
from lfiw.tasks.ope.combination import (
    SIMULATION,
    WEIGHTED,
    Anchored,
    Combination,
    Drift,
    Sampled,
    Source,
    combine,
    drift_on_path,
)
from lfiw.tasks.ope.estimators import ess_by_horizon, flatten_by_ess, horizon_by_ess, trajectory_weighted
from lfiw.tasks.ope.gaussian_policy import Between, GaussianPolicy
from lfiw.tasks.ope.learning import Learned
from lfiw.tasks.ope.reach import CARRIES, reach_of
from lfiw.tasks.ope.simulation import Simulated
from lfiw.weighting.diagnostics import effective_sample_size

ON_PATH = (0.5, 0.3, CARRIES)  # shares of the episodes that stay effective, at policies that judge the simulation


def estimate(task: OpeTask, learned: Learned, policy: GaussianPolicy) -> dict[str, Any]:
    """Estimates the return of one policy in every way, without a real episode of it.

    Returns:
        What ope.json has of the policy.
    """
    known = learned.data.returns()
    generator = torch.Generator().manual_seed(mix_seeds(learned.seed, 4))
    simulations = {way: learned.simulate(policy, way) for way in WAYS}
    plain = simulations[UNCORRECTED]
    log_ratio, min_ess = plain.log_ratio, task.min_ess * len(plain.reward)
    estimates = model_estimates(simulations, min_ess, task.bootstraps, generator)
    for way, simulated in simulations.items():
        of_behaviour = learned.of_behaviour[way]
        estimates[way + ANCHORED] = anchored(simulated, of_behaviour, known, task.bootstraps, generator)
    estimates |= baselines(task, learned, policy, generator)
    estimates[DO_NOTHING] = do_nothing(known, task.bootstraps, generator)

    combined = combine_sources(
        task, learned, policy, simulations[learned.way], drift_towards(task, learned, policy), generator
    )
    estimates[AUTO] = Estimate(combined.value, combined.interval)
    horizons = range(log_ratio.shape[1] + 1)
    runs = [*simulations.values(), *learned.of_behaviour.values()]
    return {
        "estimates": {name: asdict(e) for name, e in estimates.items()},
        "auto": {**combined.to_json(), "simulation": learned.way, "reason": learned.reason},
        "by_horizon": [trajectory_weighted(log_ratio, plain.reward, h).item() for h in horizons],
        "ess_by_horizon": ess_by_horizon(log_ratio).tolist(),
        "settings": {"H": horizon_by_ess(log_ratio, min_ess), "flatten": flatten_by_ess(log_ratio, min_ess)},
        "num_simulated": sum(len(run.reward) + run.num_diverged for run in runs),
        "num_diverged": sum(run.num_diverged for run in runs),
    }


def baselines(
    task: OpeTask, learned: Learned, policy: GaussianPolicy, generator: torch.Generator
) -> dict[str, Estimate]:
    """Computes the requested estimates from real episodes."""
    problem, data, repetitions = learned.problem, learned.data, task.bootstraps
    behaviour = problem.behaviour
    estimates: dict[str, Estimate] = {}
    if IMPORTANCE_SAMPLING in task.baselines:
        estimates |= importance_sampling(data, behaviour, policy, repetitions, generator)
    if DOUBLY_ROBUST in task.baselines:
        estimates |= doubly_robust_by_model(
            learned.held_out, learned.model, behaviour, policy, problem.terminal, repetitions, generator
        )
    if FITTED_Q in task.baselines:
        estimates |= fitted_q(data, behaviour, policy, data.reward.shape[1], generator)
    return estimates


def drift_towards(task: OpeTask, learned: Learned, policy: GaussianPolicy) -> Drift:
    """Judges simulations by importance sampling on the path to a policy, as far as the episodes carry."""
    behaviour, data = learned.problem.behaviour, learned.data
    reach = reach_of(data, behaviour, policy)
    path: list[tuple[Anchored, Sampled]] = []
    if reach is not None:
        generator = torch.Generator().manual_seed(mix_seeds(learned.seed, 6))
        for share in sorted({reach.levels[level] for level in ON_PATH} - {1.0}):
            between = Between(behaviour, policy, share)
            if (weighted := sampled(task, learned, between, generator)) is not None:
                path.append((gains(learned, learned.simulate(between, learned.way)), weighted))
    simulated = learned.of_behaviour[learned.way].reward.double().sum(1).mean().item()
    return drift_on_path(learned.episodes, simulated, path)


def combine_sources(
    task: OpeTask,
    learned: Learned,
    policy: GaussianPolicy,
    simulated: Simulated,
    drift: Drift,
    generator: torch.Generator,
) -> Combination:
    """Combines an anchored simulation, the known return, and importance sampling where policies have densities.

    Args:
        simulated: trajectories of the policy, simulated as `Learned.way` says.
    """
    episodes = learned.episodes
    effective = 0.0
    sources = [Source(DO_NOTHING, episodes.mean, episodes.std**2)]
    if learned.problem.behaviour.noise and policy.noise:
        weighted = sampled(task, learned, policy, generator)
        if weighted is not None:
            effective = weighted.effective / episodes.num
            sources.insert(0, Source(WEIGHTED, weighted.value, weighted.squared_error(episodes)))
    simulation = gains(learned, simulated)
    squared_error = simulation.squared_error(episodes) + drift.of(effective)
    sources.insert(0, Source(SIMULATION, simulation.value(episodes), squared_error))
    return combine(sources, episodes, drift)


def gains(learned: Learned, simulated: Simulated) -> Anchored:
    """Returns each network's simulated gain over the behaviour policy, from the same first states and noise."""
    pairs, member = paired_returns(simulated, learned.of_behaviour[learned.way])
    differences = pairs[:, 0] - pairs[:, 1]
    return Anchored([differences[member == i].mean().item() for i in member.unique()])


def sampled(task: OpeTask, learned: Learned, policy: GaussianPolicy, generator: torch.Generator) -> Sampled | None:
    """Weights the episodes by self-normalised importance sampling; None if the policy could have made none of them."""
    returns = learned.data.returns()
    log_weights = policy_log_ratio(learned.data, learned.problem.behaviour, policy).sum(1)
    possible = ~log_weights.isneginf()
    if not possible.any():
        return None
    log_weights, returns = log_weights[possible], returns[possible]

    def weighted_mean(rows: Tensor) -> Float[Tensor, ""]:
        return torch.softmax(log_weights[rows], dim=0) @ returns[rows]

    found = estimated(weighted_mean, len(returns), None, task.bootstraps, generator)
    assert found.interval is not None
    effective = effective_sample_size(torch.softmax(log_weights, dim=0)).item()
    return Sampled(found.value, found.interval.standard_error, effective)
