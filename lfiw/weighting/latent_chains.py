"""Markov chains in a generator's latent space, where the density ratio weights what the generator makes of it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lfiw.errors import InputError
from lfiw.weighting.weights import check_log_ratio


@dataclass(frozen=True)
class Chains:
    """The last states of chains that ran side by side.

    Args:
        latent: one state per chain.
        log_weight: of each state, float64.
        accepted: number of proposals that were accepted.
    """

    latent: Float[Tensor, "n ..."]
    log_weight: Float[Tensor, " n"]
    accepted: int


def crank_nicolson(
    log_weight: Callable[[Tensor], Float[Tensor, " n"]],
    latent: Float[Tensor, "n ..."],
    num_steps: int,
    step: float,
    generator: torch.Generator | None = None,
) -> Chains:
    """Runs a chain from each row towards the density N(z; 0, I)·w(z): what the weights make of a normal latent.

    Preconditioned Crank–Nicolson (Cotter, Roberts, Stuart and White, Statistical Science 28, 2013): the proposal
    z′ = √(1 − β²) z + β ξ, ξ ~ N(0, I), leaves the normal distribution as it is, so that it is accepted with
    probability min(1, w(z′)/w(z)) in any number of dimensions. β = 1 proposes afresh: the independence chain of Turner
    et al. 2019. Smaller steps stay near the state, which pays where good samples are rare and near one another.

    It needs no gradient of the weights, unlike Langevin dynamics (DDLS, Che et al. 2020), and its stationary
    distribution is exact.

    Args:
        log_weight: latents → log w, finite and on any scale.
        latent: first states, drawn from N(0, I).
        num_steps: proposals per chain, at least 0; each costs one evaluation of the weight.
        step: β, above 0 and at most 1.
        generator: of the proposals, which are drawn on the CPU.

    Raises:
        InputError: the step or the number of steps is out of range, there is no chain, or a log-weight is NaN or
            infinite.
    """
    if not 0 < step <= 1:
        raise InputError(f"step={step}: expected above 0 and at most 1")
    if num_steps < 0:
        raise InputError(f"num_steps={num_steps}: expected at least 0")
    current, state, accepted = checked(log_weight(latent)), latent, 0
    for _ in range(num_steps):
        noise = torch.randn(state.shape, generator=generator, dtype=state.dtype).to(state.device)
        proposal = (1 - step**2) ** 0.5 * state + step * noise
        proposed = checked(log_weight(proposal))
        taken = torch.rand(len(state), generator=generator, dtype=torch.float64).log() < proposed - current
        accepted += int(taken.sum())
        current = torch.where(taken, proposed, current)
        state = torch.where(taken.to(state.device).view(-1, *(1,) * (state.ndim - 1)), proposal, state)
    return Chains(state, current, accepted)


def checked(log_weight: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Returns log-weights in float64 on the CPU."""
    check_log_ratio(log_weight)
    return log_weight.double().cpu()
