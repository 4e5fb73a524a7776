"""Turns weighted samples into unweighted ones: pure functions from log-ratios and a torch.Generator to row indices.

| function | a chosen sample is | repeats |
| --- | --- | --- |
| `sir` | one of its own pool, by weight | yes |
| `systematic`, `residual` | one of all candidates, by weight; less variance than independent draws | yes |
| `without_replacement` | drawn by weight from the remaining candidates | no |
| `rejection` | a candidate accepted by its own weight | no |
| `metropolis_hastings` | a state of a Markov chain whose proposals are the candidates | yes |

`sir` (in the pool's size), `systematic`, `residual` (in the number of candidates) and `metropolis_hastings` (in the
burn-in) converge to the weighted distribution; `rejection` has it without a shift; `without_replacement` approximates
it if few of many are drawn. `lfiw.weighting.streaming` does the same with candidates that are still being generated.
"""

from numbers import Integral
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lfiw.errors import InputError
from lfiw.tensors import Vector, as_tensor
from lfiw.weighting.weights import check_finite, check_log_ratio


def check_count(name: str, count: int) -> None:
    """Raises InputError for a number of things that is not whole, or below 1."""
    if not isinstance(count, Integral) or count < 1:
        raise InputError(f"{name}={count} must be at least 1{'' if isinstance(count, Integral) else ', and whole'}")


def check_candidates(log_ratio: Vector, **counts: int) -> Float[Tensor, " n"]:
    """Returns the log-ratios in float64.

    Args:
        counts: numbers that must be at least 1, by their names in messages.

    Raises:
        InputError: a count is not positive; there is no candidate, all weights are zero (every log-ratio is −∞), or a
            log-ratio is NaN or infinite.
    """
    for name, count in counts.items():
        check_count(name, count)
    log_ratio = as_tensor(log_ratio, "log_ratio")
    if log_ratio.numel() and torch.isneginf(log_ratio).all():
        raise InputError("log_ratio: all weights are zero (every log-ratio is -inf): there is nothing to draw from")
    check_log_ratio(log_ratio)
    return log_ratio.double()


CHUNK = 1 << 18  # pool entries in memory: 2 MiB per array, which fits the processor's cache


def sir(
    log_ratio: Vector,
    num_samples: int,
    pool_size: int,
    generator: torch.Generator | None = None,
) -> Int[Tensor, " num_samples"]:
    """Draws by sampling-importance-resampling (Rubin 1987; Grover et al. 2019, algorithm 1).

    Each draw takes a pool of `pool_size` rows, uniform with replacement, and one row of it in proportion to its weight
    exp(log_ratio). It is exact as the pool grows; a pool of 1 gives the generator's distribution.

    Args:
        log_ratio: of the candidate rows; only differences matter.
        num_samples: number of draws.
        pool_size: candidates per draw.
        generator: source of randomness, on the device of `log_ratio`; torch's default one if None.

    Returns:
        Row indices (int64), independent draws, repeats possible.

    Raises:
        InputError: a log-ratio is NaN or infinite, there is none, or a count is not positive.
    """
    log_ratio = check_candidates(log_ratio, num_samples=num_samples, pool_size=pool_size)
    chosen = torch.empty(num_samples, dtype=torch.int64, device=log_ratio.device)
    draws, candidates = max(1, CHUNK // pool_size), min(CHUNK, pool_size)
    for start in range(0, num_samples, draws):
        part = chosen[start : start + draws]
        best = torch.full((len(part),), -torch.inf, dtype=torch.float64, device=log_ratio.device)
        for first in range(0, pool_size, candidates):
            shape = (len(part), min(candidates, pool_size - first))
            pool = torch.randint(log_ratio.numel(), shape, generator=generator, device=log_ratio.device)
            key, winner = race(log_ratio[pool], generator).max(dim=1)
            torch.where(key > best, pool.gather(1, winner[:, None]).squeeze(1), part, out=part)
            torch.maximum(key, best, out=best)
    return chosen


def race(log_weights: Float[Tensor, "..."], generator: torch.Generator | None) -> Float[Tensor, "..."]:
    """Adds Gumbel noise to log w, in place: the largest of a set is a draw in proportion to w, whatever the scale of w.

    Gumbel-max (Yellott 1977); the k largest in order are k draws without replacement.
    """
    # −log of an Exponential(1) variable is a Gumbel variable
    return log_weights.sub_(torch.empty_like(log_weights).exponential_(generator=generator).log_())


def without_replacement(
    log_ratio: Float[Tensor, " n"], num_samples: int, generator: torch.Generator | None = None
) -> Int[Tensor, " num_samples"]:
    """Draws distinct rows, each by weight among those not drawn yet (Plackett–Luce), by Gumbel top-k.

    They are the rows with the largest log w + Gumbel noise (Kool et al. 2019). Nothing repeats, so that a set is
    flatter than the weights: n of n rows have the generator's distribution. It is close to the weighted distribution if
    n is many times `num_samples`.

    Args:
        log_ratio: of the candidate rows; only differences matter.
        num_samples: number of draws, at most n.
        generator: source of randomness, on the device of `log_ratio`; torch's default one if None.

    Returns:
        Row indices (int64) in the order of drawing.

    Raises:
        InputError: there are more draws than candidates, no log-ratio or no draw, or a log-ratio is NaN or infinite.
    """
    log_ratio = check_candidates(log_ratio, num_samples=num_samples)
    if num_samples > log_ratio.numel():
        raise InputError(
            f"num_samples={num_samples:,} without replacement from {log_ratio.numel():,} candidates: ask for fewer, or "
            "generate more"
        )
    return race(log_ratio.clone(), generator).topk(num_samples).indices


ROUNDING = 1e-9  # an expected count this close below a whole number counts as that number
BELOW_ONE = 1 - 2.0**-53


def systematic(
    log_ratio: Float[Tensor, " n"], num_samples: int, generator: torch.Generator | None = None
) -> Int[Tensor, " num_samples"]:
    """Resamples systematically (Kitagawa 1996): equally spaced points on the cumulative weights, one random shift.

    Row i is drawn N·w̄ᵢ times on average, and always ⌊N·w̄ᵢ⌋ or ⌈N·w̄ᵢ⌉ times.

    Args:
        log_ratio: of the candidate rows; only differences matter.
        num_samples: N, number of draws.
        generator: source of randomness, on the device of `log_ratio`; torch's default one if None.

    Returns:
        Row indices (int64), ascending; a row of weight w̄ > 1/N repeats.

    Raises:
        InputError: a log-ratio is NaN or infinite, there is none, or no draw is asked for.
    """
    log_ratio = check_candidates(log_ratio, num_samples=num_samples)
    shift = torch.rand((), generator=generator, dtype=torch.float64, device=log_ratio.device)
    points = torch.arange(num_samples, dtype=torch.float64, device=log_ratio.device).add_(shift).div_(num_samples)
    return rows_at(points, torch.softmax(log_ratio, dim=0))


def drawn_by_weight(
    weights: Float[Tensor, " n"], num_samples: int, generator: torch.Generator | None = None
) -> Int[Tensor, " num_samples"]:
    """Resamples systematically by weights of any scale; never draws a row of weight zero."""
    positive = (weights > 0).nonzero().squeeze(1)
    return positive[systematic(weights[positive].double().log(), num_samples, generator)]


def residual(
    log_ratio: Float[Tensor, " n"], num_samples: int, generator: torch.Generator | None = None
) -> Int[Tensor, " num_samples"]:
    """Resamples residually (Liu & Chen 1998): ⌊N·w̄ᵢ⌋ copies of row i, then independent draws by the remainders.

    Row i is drawn N·w̄ᵢ times on average, and at least ⌊N·w̄ᵢ⌋ times.

    Args:
        log_ratio: of the candidate rows; only differences matter.
        num_samples: N, number of draws.
        generator: source of randomness, on the device of `log_ratio`; torch's default one if None.

    Returns:
        Row indices (int64): the copies, ascending, then the rest.

    Raises:
        InputError: a log-ratio is NaN or infinite, there is none, or no draw is asked for.
    """
    log_ratio = check_candidates(log_ratio, num_samples=num_samples)
    expected = num_samples * torch.softmax(log_ratio, dim=0)
    copies = (expected + ROUNDING).floor()
    certain = torch.repeat_interleave(copies.long())
    left = num_samples - len(certain)
    if not left:
        return certain
    points = torch.rand(left, generator=generator, dtype=torch.float64, device=log_ratio.device)
    return torch.cat([certain, rows_at(points, (expected - copies).clamp(min=0))])


def rows_at(points: Float[Tensor, " m"], weights: Float[Tensor, " n"]) -> Int[Tensor, " m"]:
    """Finds the row whose part of the cumulative weights, scaled to 1, contains a point; never one of weight 0."""
    cumulative = weights.cumsum(0)
    return torch.searchsorted(cumulative / cumulative[-1], points.clamp(max=BELOW_ONE), right=True)


PERCENTILE = 80.0
LARGEST = 1e-14  # ε of the paper: the log-odds of a candidate at the bound stay finite


def rejection(
    log_ratio: Float[Tensor, " n"],
    num_samples: int,
    generator: torch.Generator | None = None,
    *,
    percentile: float | None = PERCENTILE,
) -> Int[Tensor, " num_samples"]:
    """Accepts candidates in order, each with its `accept_probability`; M is the largest weight among them.

    Without a shift this is rejection sampling: exact, if no weight that the generator can produce exceeds M. The shift
    accepts more but flattens the weights: see `accept_probability`.

    Args:
        log_ratio: of the candidate rows; only differences matter.
        num_samples: returns this many of the first accepted ones.
        generator: source of randomness, on the device of `log_ratio`; torch's default one if None.
        percentile: the shift γ is this percentile of the candidates' log-odds, so that this share of them (in percent)
            is accepted with less than ½. If None, there is no shift.

    Returns:
        Row indices (int64), ascending, distinct.

    Raises:
        InputError: too few are accepted, a log-ratio is NaN or infinite, there is none, no sample is requested, or the
            percentile is outside 0 … 100.
    """
    log_ratio = check_candidates(log_ratio, num_samples=num_samples)
    log_bound = log_ratio.max().item()
    shift = percentile_shift(log_ratio, log_bound, percentile)
    uniform = torch.rand(log_ratio.shape, generator=generator, dtype=torch.float64, device=log_ratio.device)
    accepted = (uniform < accept_probability(log_ratio, log_bound, shift)).nonzero().squeeze(1)
    if len(accepted) < num_samples:
        raise InputError(
            f"rejection accepted {len(accepted):,} of {log_ratio.numel():,} candidates, {num_samples:,} were "
            "requested: request fewer, generate more, or lower the percentile"
        )
    return accepted[:num_samples]


def accept_probability(log_ratio: Float[Tensor, " n"], log_bound: float, shift: float = 0.0) -> Float[Tensor, " n"]:
    """Computes σ(F), F = log r − log(1 − r) − γ with r = w/M (Azadi et al. 2019, eq. 8).

    At γ = 0 this is r, the probability of rejection sampling; γ < 0 accepts more, but flattens the weights, since σ is
    nearly constant for F ≫ 0; γ > 0 accepts less.

    Args:
        log_ratio: log w.
        log_bound: log M, at least the largest log w; a larger log w counts as M.
        shift: γ.
    """
    return torch.sigmoid(log_odds(log_ratio, log_bound) - shift)


def percentile_shift(log_ratio: Float[Tensor, " n"], log_bound: float, percentile: float | None) -> float:
    """Returns γ, the percentile of the candidates' log-odds log r − log(1 − r); 0 without one.

    Raises:
        InputError: the percentile is outside 0 … 100.
    """
    if percentile is None:
        return 0.0
    if not 0 <= percentile <= 100:
        raise InputError(f"percentile={percentile} must lie between 0 and 100")
    odds = log_odds(log_ratio, log_bound).sort().values
    place = percentile / 100 * (len(odds) - 1)  # torch.quantile takes at most 2^24 values
    low = int(place)
    return torch.lerp(odds[low], odds[min(low + 1, len(odds) - 1)], place - low).item()


def log_odds(log_ratio: Float[Tensor, " n"], log_bound: float) -> Float[Tensor, " n"]:
    log_r = (log_ratio.double() - log_bound).clamp(max=-LARGEST)
    return log_r - torch.log(-torch.expm1(log_r))


BURN_IN = 640  # candidates; the length of the paper's chains
PROPOSALS = 1 << 16  # proposals in memory


class Chain(NamedTuple):
    """The states that Metropolis–Hastings returned.

    Args:
        rows: (num_samples,) row indices (int64); a row repeats while proposals are rejected.
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
    """Returns every `pool_size`-th state, after the burn-in, of chains that propose rows, uniform with replacement.

    A proposal x′ replaces the state x with probability min(1, w(x′)/w(x)), so that the weighted distribution is
    stationary (Turner et al. 2019, algorithm 1). The log-ratios must be calibrated: the chain inherits their errors. A
    chain starts at a real sample, which lies where the data are. It is never returned: if the chain is still there
    after the burn-in, it takes the next proposal.

    Args:
        log_ratio: of the candidate rows.
        num_samples: states to return, over all chains.
        pool_size: proposals between two returned states.
        generator: source of randomness; torch's default one if None.
        start: log-ratio of a real sample, or of several, each of which starts a chain of the same length.
        burn_in: proposals per chain before the first state that counts.

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
        for first in range(0, length, PROPOSALS):
            proposals = torch.randint(
                log_ratio.numel(), (min(PROPOSALS, length - first),), generator=generator, device=log_ratio.device
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
    """One chain, advanced block by block of proposals.

    Args:
        start: log-ratio of the real sample at its start.
        burn_in: proposals after which the chain leaves its start in any case.

    Attributes:
        accepted: proposals accepted so far.
    """

    def __init__(self, start: float, burn_in: int) -> None:
        self.log_ratio = start
        self.burn_in = burn_in
        self.proposed = self.accepted = 0

    def advance(self, log_ratio: Float[Tensor, " m"], generator: torch.Generator | None) -> Int[Tensor, " m"]:
        """Proposes m samples; returns the state after each: 0 is that before the block, i + 1 the i-th proposal."""
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
        """Returns the places to record in a block of `size` proposals after `first` others."""
        number = torch.arange(first + 1, first + size + 1) - self.burn_in
        return ((number > 0) & (number % thin == 0)).nonzero().squeeze(1)
