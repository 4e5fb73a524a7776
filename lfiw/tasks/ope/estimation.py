"""All estimates of a policy's return that the behaviour policy's episodes allow, and one from several of them."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from lfiw.data.batches import mix_seeds
from lfiw.schemas import OpeTask
from lfiw.tasks.ope.baselines import (
    DOUBLY_ROBUST,
    FITTED_Q,
    IMPORTANCE_SAMPLING,
    doubly_robust_by_model,
    fitted_q,
    importance_sampling,
    of_rows,
    possible_episodes,
)
from lfiw.tasks.ope.candidates import (
    ANCHORED,
    AUTO,
    DO_NOTHING,
    OF_STEPS,
    UNCORRECTED,
    Estimate,
    anchored,
    do_nothing,
    estimated,
    model_estimates,
    paired_returns,
)
from lfiw.tasks.ope.combination import (
    Anchored,
    Combination,
    Drift,
    Sampled,
    Source,
    combine,
    drift_on_path,
)
from lfiw.tasks.ope.estimators import (
    ess_by_horizon,
    flatten_by_ess,
    horizon_by_ess,
    per_decision,
    spread_of_per_decision,
    trajectory_weighted,
)
from lfiw.tasks.ope.gaussian_policy import Between, GaussianPolicy
from lfiw.tasks.ope.learning import Learned
from lfiw.tasks.ope.reach import CARRIES, Reach
from lfiw.tasks.ope.simulation import Simulated
from lfiw.weighting.diagnostics import effective_sample_size

ON_PATH = (0.5, 0.3, CARRIES)  # shares of the episodes that stay effective, at policies that judge the simulation


def estimate(
    task: OpeTask,
    learned: Learned,
    policy: GaussianPolicy,
    simulations: Mapping[str, Simulated],
    reach: Reach | None,
) -> dict[str, Any]:
    """Estimates the return of one policy in every way, without a real episode of it.

    Args:
        simulations: of the policy, by the names of `WAYS`.
        reach: how far the episodes carry towards it.

    Returns:
        What ope.json has of the policy.
    """
    known = learned.data.returns()
    generator = torch.Generator().manual_seed(mix_seeds(learned.seed, 4))
    plain = simulations[UNCORRECTED]
    log_ratio, min_ess = plain.log_ratio, task.min_ess * len(plain.reward)
    estimates = model_estimates(simulations, min_ess, task.bootstraps, generator)
    for way, simulated in simulations.items():
        of_behaviour = learned.of_behaviour(way)
        estimates[way + ANCHORED] = anchored(simulated, of_behaviour, known, task.bootstraps, generator)
    estimates |= baselines(task, learned, policy, generator)
    estimates[DO_NOTHING] = do_nothing(known, task.bootstraps, generator)

    drift = drift_towards(task, learned, policy, reach)
    combined = combine_sources(task, learned, policy, simulations[learned.way], drift, generator)
    estimates[AUTO] = Estimate(combined.value, combined.interval)
    horizons = range(log_ratio.shape[1] + 1)
    runs = [*simulations.values(), *(learned.of_behaviour(way) for way in simulations)]
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


def drift_towards(task: OpeTask, learned: Learned, policy: GaussianPolicy, reach: Reach | None) -> Drift:
    """Judges simulations by importance sampling on the path to a policy, as far as the episodes carry."""
    behaviour = learned.problem.behaviour
    path: list[tuple[Anchored, Sampled]] = []
    if reach is not None:
        generator = torch.Generator().manual_seed(mix_seeds(learned.seed, 6))
        for share in sorted({reach.levels[level] for level in ON_PATH} - {1.0}):
            between = Between(behaviour, policy, share)
            if (weighted := sampled(task, learned, between, generator)) is not None:
                path.append((gains(learned, learned.simulate(between, learned.way)), weighted))
    simulated = learned.of_behaviour(learned.way).reward.double().sum(1).mean().item()
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
    episodes, effective = learned.episodes, 0.0
    sources = [Source(DO_NOTHING, episodes.mean, episodes.std**2)]
    if learned.problem.behaviour.noise and policy.noise:
        weighted = sampled(task, learned, policy, generator)
        if weighted is not None:
            effective = weighted.effective / episodes.num
            sources.insert(0, weighted.source(OF_STEPS, episodes))
    sources.insert(0, gains(learned, simulated).source(episodes, drift.of(effective), 1 - effective))
    return combine(sources, episodes, drift)


def gains(learned: Learned, simulated: Simulated) -> Anchored:
    """Returns each network's simulated gain over the behaviour policy, from the same first states and noise."""
    pairs, member = paired_returns(simulated, learned.of_behaviour(learned.way))
    differences = pairs[:, 0] - pairs[:, 1]
    return Anchored([differences[member == i].mean().item() for i in member.unique()])


def sampled(task: OpeTask, learned: Learned, policy: GaussianPolicy, generator: torch.Generator) -> Sampled | None:
    """Weights the episodes step by step, self-normalised; None if the policy could have made at most one of them."""
    log_ratio, rewards = possible_episodes(learned.data, learned.problem.behaviour, policy)
    if len(rewards) < 2:
        return None
    weighted_mean = partial(of_rows, per_decision, log_ratio, rewards)
    found = estimated(weighted_mean, len(rewards), None, task.bootstraps, generator)
    assert found.interval is not None
    return Sampled(
        found.value,
        found.interval.standard_error,
        spread_of_per_decision(log_ratio, rewards).item(),
        effective_sample_size(torch.softmax(log_ratio.double().sum(1), dim=0)).item(),
    )
