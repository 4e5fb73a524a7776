"""Independence Metropolis–Hastings with the generator as proposal (Turner et al., ICML 2019)."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lfiw.errors import InputError
from lfiw.weighting.resampling import check_candidates
from lfiw.weighting.weights import check_finite

BURN_IN = 640  # candidates; the length of the paper's chains
CHUNK = 1 << 16  # proposals held at once


class Chain(NamedTuple):
    """What Metropolis–Hastings kept.

    Args:
        rows: (num_samples,) row indices (int64); a row repeats while proposals are refused.
        acceptance_rate: share of all proposals that were accepted, burn-in included.
    """

    rows: Int[Tensor, " num_samples"]
    acceptance_rate: float


def metropolis_hastings(
    log_ratio: Float[Tensor, " n"],
    num_samples: int,
    pool_size: int,
    generator: torch.Generator | None = None,
    *,
    start: float | Float[Tensor, " chains"],
    burn_in: int = BURN_IN,
) -> Chain:
    """Every `pool_size`-th state, after the burn-in, of chains that propose rows, uniform with replacement.

    A proposal x′ replaces the state x with probability min(1, w(x′)/w(x)), so that the weighted distribution is
    stationary (Turner et al. 2019, algorithm 1). The log-ratios must be calibrated: their errors are the chain's. A
    chain starts at a real sample, which lies where the data are; it is never returned: if the burn-in leaves the chain
    there, the next proposal is taken.

    Args:
        log_ratio: of the candidate rows.
        num_samples: states to keep, over all chains.
        pool_size: proposals between two states that are kept.
        generator: source of randomness; torch's default one if None.
        start: log-ratio of a real sample, or of several: a chain for each, of equal length.
        burn_in: proposals of each chain before the first state that counts.

    Raises:
        InputError: a log-ratio is NaN or infinite, there is none, or a count is not positive (burn_in may be 0).
    """
    log_ratio = check_candidates(log_ratio, num_samples=num_samples, pool_size=pool_size)
    starts = torch.as_tensor(start, dtype=torch.float64).reshape(-1)
    if not len(starts):
        raise InputError("start: there is no log-ratio of a real sample")
    check_finite(starts, "start")
    if burn_in < 0:
        raise InputError(f"burn_in={burn_in} must be at least 0")
    kept, accepted, proposed = [], 0, 0
    states = -(-num_samples // len(starts))
    length = burn_in + states * pool_size
    for value in starts.tolist():
        chain = IndependenceChain(value, burn_in)
        row = torch.full((1,), -1)
        for first in range(0, length, CHUNK):
            proposals = torch.randint(
                log_ratio.numel(), (min(CHUNK, length - first),), generator=generator, device=log_ratio.device
            )
            positions = chain.advance(log_ratio[proposals].cpu(), generator)
            rows = torch.cat([row, proposals.cpu()])[positions]
            row = rows[-1:]
            kept.append(rows[chain.recorded(first, len(rows), pool_size)])
        accepted += chain.accepted
        proposed += length
    rows = torch.cat(kept)
    return Chain(rows[:num_samples].to(log_ratio.device), accepted / proposed)


class IndependenceChain:
    """One chain, block of proposals by block.

    Args:
        start: log-ratio of the real sample that it starts from.
        burn_in: proposals after which the start is left in any case.

    Attributes:
        accepted: proposals accepted so far.
    """

    def __init__(self, start: float, burn_in: int) -> None:
        self.log_ratio = start
        self.burn_in = burn_in
        self.proposed = self.accepted = 0

    def advance(self, log_ratio: Float[Tensor, " m"], generator: torch.Generator | None) -> Int[Tensor, " m"]:
        """Proposes m samples → the state after each: 0 is the state before this block, i + 1 the i-th proposal."""
        # accept if log u < log w′ − log w, and −log u is an Exponential(1) variable
        device = generator.device if generator else "cpu"
        noise = torch.empty(len(log_ratio), dtype=torch.float64, device=device).exponential_(generator=generator)
        reach = (log_ratio.double() + noise.cpu()).tolist()
        values = log_ratio.tolist()
        current, state, states = self.log_ratio, 0, []
        leave = self.burn_in - self.proposed if not self.accepted else -1
        for position, (value, limit) in enumerate(zip(values, reach, strict=True)):
            if limit > current or (position >= leave >= 0 and not self.accepted):
                current, state = value, position + 1
                self.accepted += 1
            states.append(state)
        self.log_ratio = current
        self.proposed += len(values)
        return torch.tensor(states, dtype=torch.int64)

    def recorded(self, first: int, size: int, thin: int) -> Int[Tensor, " k"]:
        """Places in a block of `size` proposals, `first` before it: the burn-in over, every `thin`-th."""
        number = torch.arange(first + 1, first + size + 1) - self.burn_in
        return ((number > 0) & (number % thin == 0)).nonzero().squeeze(1)
