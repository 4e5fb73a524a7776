"""Many trajectories of a policy at once, in a learned model of the environment."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lfiw.errors import InputError
from lfiw.features.extractor import in_threads
from lfiw.tasks.ope.dynamics import DynamicsModel
from lfiw.tasks.ope.environments import Terminal
from lfiw.tasks.ope.gaussian_policy import GaussianPolicy

BLOCK_ROWS = 1000  # trajectories per block, so that activations stay in a core's cache
LogRatio = Callable[[Tensor], Tensor]  # (n, features) of `ratio_inputs` → (n,)
Columns = dict[str, Tensor]


@dataclass(frozen=True)
class Simulated:
    """Trajectories that did not diverge; steps after a terminal state have reward 0 and log-ratio 0.

    Args:
        log_ratio: real against model, per step; zeros if no ratio was given.
        member: the ensemble's member that made each trajectory.
        observation, action: those at the start of each step.
        num_diverged: trajectories dropped because a state or reward became NaN or infinite.
    """

    reward: Float[Tensor, "n t"]
    log_ratio: Float[Tensor, "n t"]
    member: Int64[Tensor, " n"]
    observation: Float[Tensor, "n t d"]
    action: Float[Tensor, "n t a"]
    num_diverged: int


def ratio_inputs(
    observation: Float[Tensor, "m n d"], action: Float[Tensor, "m n a"], residual: Float[Tensor, "*k m n c"]
) -> Float[Tensor, "*k m n f"]:
    """Returns the ratio classifier's inputs for (s, a, r, s′): s, a, the residual of (r, s′ − s), the member one-hot.

    Given (s, a) and the member, the residual is an affine function of (r, s′), so that the density ratio is the same;
    simulated residuals are standard normal.
    """
    members, n, _ = observation.shape
    one_hot = torch.eye(members)[:, None].expand(members, n, members)
    given = torch.cat([observation, action, one_hot], dim=-1)
    return torch.cat([given.expand(*residual.shape[:-1], -1), residual], dim=-1)


def ratio_of_one(inputs: Float[Tensor, "n f"]) -> Float[Tensor, " n"]:
    """Returns log ŵ = 0, as for a perfect model."""
    return inputs.new_zeros(len(inputs), dtype=torch.float64)


@torch.inference_mode()
def simulate(
    model: DynamicsModel,
    policy: GaussianPolicy,
    start: Float[Tensor, "n d"],
    horizon: int,
    terminal: Terminal,
    generator: torch.Generator,
    *,
    log_ratio: LogRatio | None = None,
    candidates: int = 1,
    average: bool = False,
) -> Simulated:
    """Simulates one trajectory per first state, each by one member of the ensemble, in blocks and threads.

    With several candidates, each step draws that many outcomes and chooses one of them by its ratio. That is
    sampling-importance-resampling of P̂·ŵ per step: the correction is in the trajectories, and no weights are
    multiplied. With `average` it takes their mean, weighted by the ratio: the self-normalised estimate of the expected
    outcome under P̂·ŵ, which in a deterministic environment is the outcome. These candidates are antithetic, so that a
    ratio of 1 everywhere gives the mean of P̂ itself.

    Args:
        start: first states; the largest multiple of the number of members is used.
        log_ratio: log ŵ of `ratio_inputs`.
        candidates: outcomes to choose from at each step; an odd number is raised by one for averaging.
        average: take the candidates' weighted mean instead of one of them.

    Raises:
        InputError: there are several candidates but no ratio, fewer first states than members, or every trajectory
            diverged.
    """
    members, size = model.members, len(start) // model.members
    if candidates < 1 or ((candidates > 1 or average) and log_ratio is None) or horizon < 1 or not size:
        raise InputError(
            f"simulation: {candidates} candidates (several need a ratio), horizon {horizon}, {len(start)} first states "
            f"for {members} members: expected at least 1 of each"
        )
    # blocks write to where their steps belong, so that nothing is copied afterwards
    shape = (members, size, horizon)
    whole: Columns = {
        "reward": torch.empty(shape),
        "log_ratio": torch.zeros(shape, dtype=torch.float64),
        "observation": torch.empty(*shape, start.shape[1]),
        "action": torch.empty(*shape, len(policy.low)),
        "diverged": torch.zeros(members, size, dtype=torch.bool),
    }
    rows = max(1, BLOCK_ROWS // members)
    states = start[: members * size].view(members, size, -1).split(rows, dim=1)
    parts = zip(*(values.split(rows, dim=1) for values in whole.values()), strict=True)
    seeds = torch.randint(2**62, (len(states),), generator=generator).tolist()

    def simulate_into(block: tuple[Tensor, tuple[Tensor, ...], int]) -> None:
        state, columns, seed = block
        into = dict(zip(whole, columns, strict=True))
        own = torch.Generator().manual_seed(seed)
        simulate_block(model, policy, state, into, terminal, own, log_ratio, candidates, average)

    in_threads(simulate_into, list(zip(states, parts, seeds, strict=True)))
    trajectories = {name: values.flatten(0, 1) for name, values in whole.items()}
    trajectories["member"] = torch.arange(members).repeat_interleave(size)
    diverged = trajectories.pop("diverged")
    if diverged.all():
        raise InputError(
            f"all {len(diverged)} simulated trajectories diverged: train the dynamics model longer or on more data"
        )
    if diverged.any():
        trajectories = {name: values[~diverged] for name, values in trajectories.items()}
    return Simulated(**trajectories, num_diverged=int(diverged.sum()))


def simulate_block(
    model: DynamicsModel,
    policy: GaussianPolicy,
    state: Float[Tensor, "m n d"],
    into: Columns,
    terminal: Terminal,
    generator: torch.Generator,
    log_ratio: LogRatio | None,
    candidates: int,
    average: bool,
) -> None:
    """As `simulate`; writes reward, log_ratio, observation, action (m, n, horizon, …) and which trajectories diverged.

    Without a ratio, log_ratio is not written.
    """
    members, size, _ = state.shape
    n = members * size
    low, high = policy.low, policy.high
    ones = torch.ones(state.shape[-1])
    running = torch.ones(members, size, dtype=torch.bool)
    drawn = (candidates + 1) // 2 if average else candidates
    for step in range(into["reward"].shape[2]):
        action = policy.sample(state.flatten(0, 1), generator).clamp(low, high).view(members, size, -1)
        noise = torch.randn(drawn, members, size, state.shape[-1] + 1, generator=generator)
        if average:
            noise = torch.cat([noise, -noise])
        into["observation"][:, :, step], into["action"][:, :, step] = state, action
        step_ratio = None
        if log_ratio is not None:
            inputs = ratio_inputs(state, action, noise[..., model.changes])
            of_candidates = log_ratio(inputs.flatten(0, 2)).view(len(noise), n)
            step_ratio = (torch.logsumexp(of_candidates, 0) - math.log(len(noise))).view(members, size)
            if average:
                weights = torch.softmax(of_candidates, 0).to(noise.dtype).view(*noise.shape[:3], 1)
                noise = (weights * noise).sum(0, keepdim=True)
            elif candidates > 1:
                chosen = torch.multinomial(torch.softmax(of_candidates, 0).T, 1, generator=generator).squeeze(1)
                noise = noise.flatten(1, 2)[chosen, torch.arange(n)].view(1, members, size, -1)
        following, reward = (values[0] for values in model.step(state, action, noise))
        # outcomes are clipped to finite bounds, so a sum is finite if every number is; a product is its fastest form
        finite = torch.isfinite(following @ ones + reward)
        into["diverged"] |= running & ~finite
        running = running & finite
        into["reward"][:, :, step] = reward.masked_fill(~running, 0.0)
        if step_ratio is not None:
            into["log_ratio"][:, :, step] = step_ratio.masked_fill(~running, 0.0)
        running = running & ~terminal(following.flatten(0, 1)).view(members, size)
        # ended trajectories stay where they are, so that nothing overflows
        state = following if running.all() else torch.where(running[:, :, None], following, state)


@torch.inference_mode()
def model_values(
    model: DynamicsModel,
    policy: GaussianPolicy,
    observation: Float[Tensor, "n t d"],
    action: Float[Tensor, "n t a"],
    terminal: Terminal,
    generator: torch.Generator,
    *,
    repetitions: int = 1,
) -> tuple[Float[Tensor, "n t"], Float[Tensor, "n t"]]:
    """Estimates the model's q(s_t, a_t) and v(s_t) at every step of real trajectories, by simulating from there.

    They are means over `repetitions` simulations of the rest of the episode: noisy, but unbiased for the model. If a
    simulation diverges, both are 0, which leaves a doubly robust estimate unbiased.
    """
    n, horizon, _ = observation.shape
    # the longest first, so that rows still running come first
    states = observation.transpose(0, 1).flatten(0, 1)
    first_actions = action.transpose(0, 1).flatten(0, 1)
    values = []
    for given in (first_actions, None):
        runs = [
            _rest_of_episodes(model, policy, states, given, horizon, terminal, generator) for _ in range(repetitions)
        ]
        values.append(torch.stack(runs).mean(0).view(horizon, n).T)
    lost = ~torch.isfinite(values[0] + values[1])
    return values[0].masked_fill(lost, 0.0), values[1].masked_fill(lost, 0.0)


def _rest_of_episodes(
    model: DynamicsModel,
    policy: GaussianPolicy,
    states: Float[Tensor, "n d"],
    first_actions: Float[Tensor, "n a"] | None,
    horizon: int,
    terminal: Terminal,
    generator: torch.Generator,
) -> Float[Tensor, " n"]:
    """Simulates returns from each state on; of the `horizon` groups of rows, number t has horizon − t steps left."""
    num, group = len(states), len(states) // horizon
    total = torch.zeros(num)
    member = torch.randint(model.members, (num,), generator=generator)
    order = torch.argsort(member, stable=True)
    left = horizon - torch.arange(num) // group
    running = torch.ones(num, dtype=torch.bool)
    state = states.clone()
    for step in range(horizon):
        # members have their own weights: their rows are side by side, padded to the same length
        rows = order[(running & (left > step))[order]]
        if not len(rows):
            break
        if step == 0 and first_actions is not None:
            action = first_actions[rows]
        else:
            action = policy.sample(state[rows], generator)
        own, counts = member[rows], torch.bincount(member[rows], minlength=model.members)
        place = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[own]
        shape = (model.members, int(counts.max()))
        padded = state.new_zeros(*shape, state.shape[1]), action.new_zeros(*shape, action.shape[1])
        for values, of_rows in zip(padded, (state[rows], action.clamp(policy.low, policy.high)), strict=True):
            values[own, place] = of_rows
        following, reward = model.step(*padded, torch.randn(*shape, state.shape[1] + 1, generator=generator))
        total[rows] += reward[own, place]
        state[rows] = following[own, place]
        running[rows] = ~terminal(state[rows]) & torch.isfinite(state[rows]).all(1)
        total[rows] = torch.where(torch.isfinite(state[rows]).all(1), total[rows], torch.nan)
    return total
