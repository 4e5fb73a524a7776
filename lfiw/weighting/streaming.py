"""Samplers by name, for given candidates and for candidates that are still being generated."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lfiw.errors import InputError
from lfiw.weighting.resampling import (
    BURN_IN,
    PERCENTILE,
    IndependenceChain,
    accept_probability,
    check_candidates,
    metropolis_hastings,
    percentile_shift,
    race,
    rejection,
    residual,
    sir,
    systematic,
    without_replacement,
)

POOL = 16
REJECTION_BURN_IN = 1000
METHODS = ("sir", "systematic", "residual", "without-replacement", "rejection", "mh")
STREAMED = ("sir", "rejection", "mh")  # the methods for candidates that are still being generated
LATENT = "pcn"  # of `lfiw.weighting.latent_chains`, which makes its own candidates
OPTIONS = {
    "pool": ("sir", "mh", LATENT),
    "burn_in": ("mh",),
    "start": ("mh",),
    "percentile": ("rejection",),
    "step": (LATENT,),
}


@dataclass(frozen=True)
class Resampled:
    """The rows that a sampler chose.

    Args:
        rows: (num,) row indices.
        candidates: number considered; a row that was in several pools or proposed several times counts as often.
        acceptance_rate: that of rejection and Metropolis–Hastings; otherwise None.
    """

    rows: Int[Tensor, " num"]
    candidates: int
    acceptance_rate: float | None = None


def check_method(method: str, *, streamed: bool = False, latent: bool = False, **given: object) -> None:
    """Requires that the given options (not None) belong to the method.

    Args:
        streamed: whether candidates are still being generated.
        latent: whether they come from a generator whose latent space is known.

    Raises:
        InputError: the method is unknown, or does not have an option.
    """
    methods = STREAMED if streamed else METHODS
    if latent:
        methods = (*methods, LATENT)
    if method == LATENT and not latent:
        raise InputError(f"method {LATENT} moves in a generator's latent space: it goes with --generator trained")
    if method not in methods:
        why = " for candidates that come one by one" if method in METHODS else ""
        raise InputError(f"method {method!r}: expected one of {', '.join(methods)}{why}")
    for name, value in given.items():
        takes = ("rejection", "mh") if streamed and name == "burn_in" else OPTIONS[name]
        if value is not None and method not in takes:
            raise InputError(f"{name.replace('_', '-')} goes with method {' or '.join(takes)}, not {method}")


def resample(
    method: str,
    log_ratio: Float[Tensor, " n"],
    num: int,
    generator: torch.Generator | None = None,
    *,
    pool: int | None = None,
    burn_in: int | None = None,
    start: float | None = None,
    percentile: float | None = None,
) -> Resampled:
    """Chooses `num` rows by the sampler of that name; options that are None take their defaults.

    Args:
        pool: candidates per sample (sir, mh).
        burn_in: proposals before the first state that counts (mh).
        start: log-ratio of a real sample (mh; required).
        percentile: that of the shift (rejection).

    Raises:
        InputError: the method does not have an option, or as the sampler itself.
    """
    check_method(method, pool=pool, burn_in=burn_in, start=start, percentile=percentile)
    pool = POOL if pool is None else pool
    if method == "sir":
        return Resampled(sir(log_ratio, num, pool, generator), num * pool)
    if method == "mh":
        if start is None:
            raise InputError("mh starts from a real sample: give its log-ratio")
        burn_in = BURN_IN if burn_in is None else burn_in
        chain = metropolis_hastings(log_ratio, num, pool, generator, start=start, burn_in=burn_in)
        return Resampled(chain.rows, burn_in + num * pool, chain.acceptance_rate)
    if method == "rejection":
        rows = rejection(log_ratio, num, generator, percentile=PERCENTILE if percentile is None else percentile)
        tried = int(rows[-1]) + 1
        return Resampled(rows, tried, num / tried)
    samplers = {"systematic": systematic, "residual": residual, "without-replacement": without_replacement}
    return Resampled(samplers[method](log_ratio, num, generator), log_ratio.numel())


Batch = Mapping[str, Tensor]  # column → (rows, …)


class Step(NamedTuple):
    """The outcome of one batch of candidates: 0 is the one carried over from earlier batches, i + 1 the i-th one.

    Args:
        kept: (k,) chosen candidates, in order; they may repeat.
        carried: the candidate that later batches may still choose.
    """

    kept: Int[Tensor, " k"]
    carried: int


@runtime_checkable
class Sampler(Protocol):
    """Decides about candidates batch by batch."""

    @property
    def candidates(self) -> int:
        """Number of candidates seen."""
        ...

    @property
    def accepted(self) -> int:
        """Number of candidates accepted."""
        ...

    def step(self, log_ratio: Float[Tensor, " n"]) -> Step: ...


class PoolSampler:
    """`lfiw.sir` with pools of consecutive candidates; the random numbers are drawn on the CPU."""

    def __init__(self, pool_size: int, generator: torch.Generator | None = None) -> None:
        if pool_size < 1:
            raise InputError(f"pool_size={pool_size} must be at least 1")
        self.pool_size, self.generator = pool_size, generator
        self.candidates = self.accepted = 0
        self._in_pool, self._best = 0, -torch.inf  # those of the pool that is not full yet

    def step(self, log_ratio: Float[Tensor, " n"]) -> Step:
        keys = race(check_candidates(log_ratio).cpu().clone(), self.generator)
        # prepends the open pool: its best candidate, and for its others as many that cannot win
        before = torch.full((self._in_pool,), -torch.inf, dtype=torch.float64)
        before[:1] = self._best
        keys = torch.cat([before, keys])
        places = torch.cat([torch.zeros(self._in_pool, dtype=torch.int64), torch.arange(1, len(log_ratio) + 1)])
        full = len(keys) // self.pool_size * self.pool_size
        winners = keys[:full].view(-1, self.pool_size).argmax(dim=1)
        kept = places[:full].view(-1, self.pool_size).gather(1, winners[:, None]).squeeze(1)
        self._in_pool, carried = len(keys) - full, 0
        if self._in_pool:
            best, winner = keys[full:].max(dim=0)
            self._best, carried = best.item(), int(places[full:][winner])
        self.candidates += len(log_ratio)
        self.accepted += len(kept)
        return Step(kept, carried)


class RejectionSampler:
    """`lfiw.weighting.resampling.rejection` with a running maximum: the bound M is the largest weight so far.

    The first `burn_in` candidates determine M and the shift, as in the paper, and are not returned.
    """

    def __init__(
        self,
        burn_in: int,
        percentile: float | None = PERCENTILE,
        generator: torch.Generator | None = None,
    ) -> None:
        if burn_in < 1:
            raise InputError(f"burn_in={burn_in} must be at least 1: the bound on the weights comes from it")
        self.burn_in, self.percentile, self.generator = burn_in, percentile, generator
        self.candidates = self.accepted = 0
        self._seen: list[Tensor] = []
        self._bound, self._shift = -torch.inf, 0.0

    def step(self, log_ratio: Float[Tensor, " n"]) -> Step:
        log_ratio = check_candidates(log_ratio).cpu()
        spent = min(max(self.burn_in - self.candidates, 0), len(log_ratio))
        self.candidates += len(log_ratio)
        if spent:
            self._seen.append(log_ratio[:spent].clone())
            if self.candidates >= self.burn_in:
                seen = torch.cat(self._seen)
                self._bound = seen.max().item()
                self._shift = percentile_shift(seen, self._bound, self.percentile)
                self._seen.clear()
        rest = log_ratio[spent:]
        if not len(rest):
            return Step(torch.empty(0, dtype=torch.int64), 0)
        bound = rest.cummax(0).values.clamp(min=self._bound)
        self._bound = bound[-1].item()
        uniform = torch.rand(rest.shape, generator=self.generator, dtype=torch.float64)
        kept = (uniform < accept_probability(rest - bound, 0.0, self._shift)).nonzero().squeeze(1) + spent + 1
        self.accepted += len(kept)
        return Step(kept, 0)


class ChainSampler:
    """`lfiw.weighting.resampling.metropolis_hastings` with one chain: every `pool_size`-th state after the burn-in."""

    def __init__(
        self, start: float, pool_size: int, burn_in: int = BURN_IN, generator: torch.Generator | None = None
    ) -> None:
        if pool_size < 1 or burn_in < 0:
            raise InputError(f"pool_size={pool_size} must be at least 1 and burn_in={burn_in} at least 0")
        self.pool_size, self.generator = pool_size, generator
        self.candidates = 0
        self._chain = IndependenceChain(start, burn_in)

    @property
    def accepted(self) -> int:
        return self._chain.accepted

    def step(self, log_ratio: Float[Tensor, " n"]) -> Step:
        states = self._chain.advance(check_candidates(log_ratio).cpu(), self.generator)
        kept = states[self._chain.recorded(self.candidates, len(states), self.pool_size)]
        self.candidates += len(states)
        return Step(kept, int(states[-1]))


def build_sampler(
    method: str,
    generator: torch.Generator | None = None,
    *,
    pool: int | None = None,
    burn_in: int | None = None,
    start: float | None = None,
    percentile: float | None = None,
) -> Sampler:
    """Makes the sampler of that name for candidates that are still being generated; arguments as for `resample`.

    Args:
        burn_in: candidates before the first sample (mh, and rejection, whose bound they determine).

    Raises:
        InputError: there is no such method, it does not have an option, or as the sampler itself.
    """
    check_method(method, streamed=True, pool=pool, burn_in=burn_in, start=start, percentile=percentile)
    pool = POOL if pool is None else pool
    if method == "sir":
        return PoolSampler(pool, generator)
    if method == "rejection":
        return RejectionSampler(
            REJECTION_BURN_IN if burn_in is None else burn_in,
            PERCENTILE if percentile is None else percentile,
            generator,
        )
    if start is None:
        raise InputError("mh starts from a real sample: give its log-ratio")
    return ChainSampler(start, pool, BURN_IN if burn_in is None else burn_in, generator)


def stream(
    batches: Iterable[Batch],
    score: Callable[[Batch], Float[Tensor, " n"]],
    sampler: Sampler,
    num_samples: int,
) -> Iterator[dict[str, Tensor]]:
    """Draws batches of candidates until `num_samples` are chosen, and yields what each batch adds, if anything.

    It holds one batch and one further candidate in memory.

    Args:
        batches: batches of candidates, all with the same columns.
        score: batch → log-ratios of its rows.
        sampler: as from `build_sampler`; counts the candidates.

    Raises:
        InputError: the candidates end before there are enough, or no sample is requested.
    """
    if num_samples < 1:
        raise InputError(f"num={num_samples} must be at least 1")
    missing, carried = num_samples, None
    for batch in batches:
        log_ratio = score(batch)
        if not len(log_ratio):
            continue
        kept, place = sampler.step(log_ratio)
        kept = kept[:missing]
        # the carried candidate precedes the batch; at first there is none, and place 0 is never chosen
        before = {name: values[:1] for name, values in batch.items()} if carried is None else carried
        joined = {name: torch.cat([before[name], values]) for name, values in batch.items()}
        carried = {name: values[place : place + 1].clone() for name, values in joined.items()}
        missing -= len(kept)
        if len(kept):
            yield {name: values[kept] for name, values in joined.items()}
        if not missing:
            return
    raise InputError(
        f"the candidates ended after {sampler.candidates:,}: {num_samples - missing:,} samples were kept, "
        f"{num_samples:,} were requested: generate more candidates or request fewer samples"
    )
