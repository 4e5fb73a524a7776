"""Estimates of a policy's return from trajectories of another policy or of a learned model.

All functions are pure and take (trajectories × steps) arrays. `log_ratio[i, t]` is the log density ratio of step t of
trajectory i, target against source. Its meaning determines the estimator:

- simulated trajectories of the evaluation policy: real against model transitions, log P(r, s′|s, a) − log P̂(r, s′|s, a)
  (Grover et al. 2019, section 4.3); without it they give the uncorrected model-based estimate;
- real trajectories of the behaviour policy: evaluation against behaviour policy, log π_e(a|s) − log π_b(a|s): ordinary
  and weighted importance sampling (Precup, Sutton & Singh 2000), which need no model.

Steps after the end of an episode have reward 0 and log-ratio 0. Returns are undiscounted sums.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lfiw.errors import InputError
from lfiw.weighting.diagnostics import effective_sample_size
from lfiw.weighting.weights import smooth_log_weights


def model_based(rewards: Float[Tensor, "n t"]) -> Float[Tensor, ""]:
    """Computes the uncorrected mean return of simulated trajectories; float64."""
    _check(rewards)
    return rewards.double().sum(1).mean()


def trajectory_weighted(
    log_ratio: Float[Tensor, "n t"],
    rewards: Float[Tensor, "n t"],
    horizon: int | None = None,
    *,
    self_normalise: bool = True,
    smooth: bool = False,
) -> Float[Tensor, ""]:
    """Weights the returns G by w = Π_{t < H} ratio_t: Σ w G / Σ w, or Σ w G / n without self-normalising; float64.

    H = 0 gives the uncorrected mean. From step H on, a trajectory remains that of its source.

    Args:
        horizon: H. If None, all steps.
        self_normalise: if True, consistent and less variable; if False, unbiased for exact ratios.
        smooth: Pareto-smooth the largest weights (`lfiw.weighting.weights`).

    Raises:
        InputError: shapes differ, a value is NaN, a log-ratio is +∞, or all weights are zero.
    """
    steps = _check(rewards, log_ratio)
    used = _horizon(horizon, steps)
    log_weights = log_ratio[:, :used].double().sum(1, keepdim=True)
    return _weighted_means(log_weights, rewards.double().sum(1, keepdim=True), self_normalise, smooth).sum()


def per_decision(
    log_ratio: Float[Tensor, "n t"],
    rewards: Float[Tensor, "n t"],
    horizon: int | None = None,
    *,
    self_normalise: bool = True,
    smooth: bool = False,
) -> Float[Tensor, ""]:
    """Weights each reward by the ratios up to its step: Σ_t Σ_i w_it r_it, w_it = Π_{k ≤ min(t, H−1)} ratio_ik.

    A reward does not depend on later steps, whose ratios would only add variance (Precup et al. 2000). The weights are
    self-normalised per step. Arguments and errors as for `trajectory_weighted`.
    """
    steps = _check(rewards, log_ratio)
    log_weights = cumulative(log_ratio, _horizon(horizon, steps))
    return _weighted_means(log_weights, rewards.double(), self_normalise, smooth).sum()


def spread_of_per_decision(log_ratio: Float[Tensor, "n t"], rewards: Float[Tensor, "n t"]) -> Float[Tensor, ""]:
    """Computes the variance of `per_decision`, if rewards had their covariance C over steps under the target too.

    It is Σ_i w̄_iᵀ C w̄_i, with the self-normalised weights w̄_i of episode i's steps. Were the weights of an episode's
    steps all the same, it would be the variance of a return divided by the effective sample size. Few effective
    episodes, which a bootstrap draws again and again, thus leave it large.

    Raises:
        InputError: as `trajectory_weighted`, or there is a single trajectory.
    """
    _check(rewards, log_ratio)
    if len(rewards) < 2:
        raise InputError("a single trajectory: rewards have no covariance")
    weights = torch.softmax(cumulative(log_ratio), dim=0)
    return ((weights @ torch.cov(rewards.double().T).view(weights.shape[1], -1)) * weights).sum()


def doubly_robust(
    log_ratio: Float[Tensor, "n t"],
    rewards: Float[Tensor, "n t"],
    action_values: Float[Tensor, "n t"],
    state_values: Float[Tensor, "n t"],
    *,
    self_normalise: bool = True,
) -> Float[Tensor, ""]:
    """Averages Σ_t [w_t (r_t − q_t) + w_{t−1} v_t] over real trajectories, with a model's values as control variate.

    Without self-normalising it is unbiased for exact ratios, whatever the values (Jiang & Li, ICML 2016). With it, it
    is the consistent weighted form of Thomas & Brunskill (ICML 2016). Unbiased noise in the values changes neither.
    Computes in float64.

    Args:
        log_ratio: evaluation against behaviour policy.
        action_values: q(s_t, a_t), the model's expected return from step t on, including that step's reward.
        state_values: v(s_t), its mean over the evaluation policy's actions.

    Raises:
        InputError: as `trajectory_weighted`.
    """
    _check(rewards, log_ratio)
    _check(rewards, action_values)
    _check(rewards, state_values)
    now = cumulative(log_ratio)
    before = torch.cat([torch.zeros_like(now[:, :1]), now[:, :-1]], dim=1)
    surprise = _weighted_means(now, rewards.double() - action_values.double(), self_normalise)
    return (surprise + _weighted_means(before, state_values.double(), self_normalise)).sum()


def cumulative(log_ratio: Float[Tensor, "n t"], horizon: int | None = None) -> Float[Tensor, "n t"]:
    """Computes the log of the product of the ratios up to and including each step, but of at most the first H."""
    total = log_ratio.double().clone()
    total[:, _horizon(horizon, log_ratio.shape[1]) :] = 0.0
    return total.cumsum(1)


def ess_by_horizon(log_ratio: Float[Tensor, "n t"]) -> Float[Tensor, " h"]:
    """Computes the effective sample size of the weights Π_{t < H} ratio_t for H = 0 … T; 0 if all are zero."""
    total = torch.cat([torch.zeros_like(log_ratio[:, :1]), log_ratio], dim=1).double().cumsum(1)
    return torch.stack([_effective_size(column) for column in total.T])


def _effective_size(log_weights: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Computes the effective sample size; 0 if all weights are zero."""
    if log_weights.isneginf().all():
        return log_weights.new_zeros(())
    return effective_sample_size(torch.softmax(log_weights, 0))


def horizon_by_ess(log_ratio: Float[Tensor, "n t"], min_ess: float) -> int:
    """Returns the largest H up to which the ESS of the first-H weights never falls below `min_ess`."""
    below = (ess_by_horizon(log_ratio) < min_ess).nonzero()
    return int(below[0]) - 1 if len(below) and below[0] > 0 else 0 if len(below) else log_ratio.shape[1]


def flatten_by_ess(log_ratio: Float[Tensor, "n t"], min_ess: float) -> float:
    """Returns the largest exponent α ≤ 1 for which the weights (Π_t ratio_t)^α have an ESS of at least `min_ess`.

    The ESS falls with α, which is found by bisection to 1e-6; 0 if no exponent is small enough.
    """
    total = log_ratio.double().sum(1)

    def enough(alpha: float) -> bool:
        return _effective_size(alpha * total).item() >= min_ess

    if enough(1.0):
        return 1.0
    low, high = 0.0, 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if enough(middle) else (low, middle)
    return low


@dataclass(frozen=True)
class Interval:
    """Percentiles of bootstrap repetitions."""

    low: float
    high: float
    standard_error: float


def bootstrap_interval(
    estimate: Callable[[Int64[Tensor, " n"]], Float[Tensor, ""]],
    num_trajectories: int,
    *,
    members: Int64[Tensor, " n"] | None = None,
    repetitions: int = 200,
    coverage: float = 0.95,
    generator: torch.Generator,
) -> Interval:
    """Computes an estimator's percentile interval over resampled trajectories and, if given, ensemble members.

    Args:
        estimate: computes the estimate from trajectories by row number; rows may repeat.
        members: the member of the model's ensemble that made each trajectory. Members are resampled first, and then the
            same number of trajectories, each from one of the drawn members.
    """
    estimates = []
    for _ in range(repetitions):
        if members is None:
            rows = torch.randint(num_trajectories, (num_trajectories,), generator=generator)
        else:
            rows = _rows_of_members(members, generator)
        estimates.append(estimate(rows))
    values = torch.stack(estimates)
    tail = (1 - coverage) / 2
    return Interval(values.quantile(tail).item(), values.quantile(1 - tail).item(), values.std().item())


def _rows_of_members(members: Int64[Tensor, " n"], generator: torch.Generator) -> Int64[Tensor, " n"]:
    groups = [(members == member).nonzero().squeeze(1) for member in members.unique()]
    drawn = torch.randint(len(groups), (len(groups),), generator=generator).tolist()
    sizes = [len(part) for part in torch.arange(len(members)).tensor_split(len(groups))]
    parts = [
        groups[group][torch.randint(len(groups[group]), (size,), generator=generator)]
        for group, size in zip(drawn, sizes, strict=True)
    ]
    return torch.cat(parts)


def _weighted_means(
    log_weights: Float[Tensor, "n k"], values: Float[Tensor, "n k"], self_normalise: bool, smooth: bool = False
) -> Float[Tensor, " k"]:
    """Computes each column's weighted mean."""
    if smooth:
        log_weights = smooth_log_weights(log_weights)
    if not self_normalise:
        return (log_weights.exp() * values).mean(0)
    if torch.isneginf(log_weights).all(0).any():
        raise InputError("all weights are zero: no trajectory could have come from the target")
    return (torch.softmax(log_weights, dim=0) * values).sum(0)


def _horizon(horizon: int | None, steps: int) -> int:
    if horizon is None:
        return steps
    if not 0 <= horizon <= steps:
        raise InputError(f"horizon={horizon} must lie in 0 … {steps}, the trajectories' steps")
    return horizon


def _check(rewards: Tensor, other: Tensor | None = None) -> int:
    """Returns the number of steps; raises InputError for arrays that allow no estimate."""
    if rewards.ndim != 2 or not rewards.numel():
        raise InputError(f"rewards: expected (trajectories, steps), got {tuple(rewards.shape)}")
    if not torch.isfinite(rewards).all():
        raise InputError("rewards: some are NaN or infinite: drop diverged trajectories first")
    if other is not None:
        if other.shape != rewards.shape:
            raise InputError(f"expected {tuple(rewards.shape)} values as there are rewards, got {tuple(other.shape)}")
        if torch.isnan(other).any() or (other == math.inf).any():
            raise InputError("log-ratios or values: some are NaN or +∞")
    return rewards.shape[1]
