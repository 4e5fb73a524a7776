"""The streaming samplers against the same exact distributions, in batches of odd sizes."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor
from weighting.exact import WEIGHTS, chain_distribution, check_counts, pool_distribution

from lfiw import InputError
from lfiw.weighting.streaming import ChainSampler, PoolSampler, RejectionSampler, Sampler, stream


def batches(sizes: list[int], seed: int, limit: int | None = None) -> Iterator[dict[str, Tensor]]:
    """Candidates that are drawn uniformly from four kinds, numbered."""
    generator = torch.Generator().manual_seed(seed)
    number = 0
    while limit is None or number < limit:
        for size in sizes:
            kind = torch.randint(4, (size,), generator=generator)
            yield {"kind": kind, "number": torch.arange(number, number + size)}
            number += size


def score(batch: dict[str, Tensor]) -> Tensor:
    return torch.from_numpy(np.log(WEIGHTS))[batch["kind"]]


def kept(sampler: Sampler, num: int, seed: int = 0, sizes: list[int] | None = None) -> dict[str, Tensor]:
    found = list(stream(batches(sizes or [7, 1, 64, 3], seed), score, sampler, num))
    return {name: torch.cat([block[name] for block in found]) for name in ("kind", "number")}


@pytest.mark.parametrize("pool_size", [1, 2, 5])
def test_pools_across_batches(pool_size: int) -> None:
    sampler = PoolSampler(pool_size, torch.Generator().manual_seed(1))
    found = kept(sampler, 20_000)
    check_counts(np.bincount(found["kind"], minlength=4), pool_distribution(WEIGHTS, pool_size))
    # the i-th sample is one of the i-th pool
    assert torch.equal(found["number"] // pool_size, torch.arange(20_000))
    assert 0 <= sampler.candidates - 20_000 * pool_size < 80


def test_one_pool_over_many_batches() -> None:
    found = torch.cat([kept(PoolSampler(5, torch.Generator().manual_seed(s)), 1, s, [1])["kind"] for s in range(2000)])
    check_counts(np.bincount(found, minlength=4), pool_distribution(WEIGHTS, 5))


def test_rejection_is_exact_after_its_burn_in() -> None:
    sampler = RejectionSampler(100, None, torch.Generator().manual_seed(1))
    found = kept(sampler, 20_000)
    assert found["number"].min() >= 100
    assert (found["number"].diff() > 0).all()
    check_counts(np.bincount(found["kind"], minlength=4), WEIGHTS / WEIGHTS.sum())
    rate = WEIGHTS.mean() / WEIGHTS.max()
    tried = sampler.candidates - 100
    assert sampler.accepted / tried == pytest.approx(rate, abs=4 * math.sqrt(rate * (1 - rate) / tried))


def test_the_bound_runs_along() -> None:
    """Of two candidates the second is the largest so far: accepted for certain, the first by its own bound too."""
    sampler = RejectionSampler(1, None, torch.Generator().manual_seed(0))
    assert sampler.step(torch.tensor([0.0])).kept.tolist() == []
    assert sampler.step(torch.tensor([5.0, 5.0, -1e9])).kept.tolist() == [1, 2]
    assert sampler.step(torch.tensor([-1e9])).kept.tolist() == []


def test_chain_across_batches() -> None:
    found = []
    for seed in range(2000):
        sampler = ChainSampler(math.log(20.0), 2, burn_in=3, generator=torch.Generator().manual_seed(seed))
        found.append(kept(sampler, 1, seed, [1, 2])["kind"])
    check_counts(np.bincount(torch.cat(found), minlength=4), chain_distribution(WEIGHTS, 20.0, 3, 2))


def test_a_long_chain_repeats_while_it_stays() -> None:
    sampler = ChainSampler(0.0, 20, generator=torch.Generator().manual_seed(0))
    found = kept(sampler, 3000)
    check_counts(np.bincount(found["kind"], minlength=4), WEIGHTS / WEIGHTS.sum())
    assert (found["number"].diff() >= 0).all()
    assert 0 < sampler.accepted < sampler.candidates


def test_candidates_that_end_too_early() -> None:
    sampler = PoolSampler(4)
    with pytest.raises(InputError, match=r"ended after 40: 10 samples were kept, 11 were requested"):
        list(stream(batches([10], 0, limit=40), score, sampler, 11))


def test_bad_input() -> None:
    with pytest.raises(InputError, match="num=0 must be at least 1"):
        list(stream([], score, PoolSampler(1), 0))
    for make, message in (
        (lambda: PoolSampler(0), "pool_size=0"),
        (lambda: RejectionSampler(0), "burn_in=0 must be at least 1"),
        (lambda: ChainSampler(0.0, 0), "pool_size=0"),
    ):
        with pytest.raises(InputError, match=message):
            make()
