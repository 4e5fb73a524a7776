"""Which rows make up a batch: over steps, epochs and processes."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lfiw import InputError
from lfiw.data.batches import BatchIndex, MixedBatches, RowsInOrder, mix_seeds, passes
from lfiw.schemas import MIXINGS


def batches(sampler: MixedBatches, epoch: int = 0) -> list[BatchIndex]:
    sampler.set_epoch(epoch)
    found = list(sampler)
    assert len(found) == len(sampler)
    return found


sizes = st.integers(1, 300)


@given(sizes, sizes, st.integers(1, 20), st.sampled_from(MIXINGS), st.sampled_from([1, 2, 4]), st.integers(0, 3))
def test_the_processes_together_have_the_batch_of_one(
    num_real: int, num_generated: int, eighths: int, mixing: str, world_size: int, epoch: int
) -> None:
    batch_size = 8 * eighths

    def sampler(rank: int, world: int) -> MixedBatches:
        return MixedBatches(
            num_real, num_generated, batch_size=batch_size, mixing=mixing, seed=5, rank=rank, world_size=world
        )

    of_ranks = [batches(sampler(rank, world_size), epoch) for rank in range(world_size)]
    assert len({len(found) for found in of_ranks}) == 1
    rows = 2 * max(num_real, num_generated) if mixing == "balanced" else num_real + num_generated
    whole = batches(sampler(0, 1), epoch) if batch_size <= rows else None
    for step, parts in enumerate(zip(*of_ranks, strict=True)):
        assert len({len(part.positions) for part in parts}) == 1
        assert len({(part.seed, part.size) for part in parts}) == 1
        assert [part.share for part in parts] == [(rank, world_size) for rank in range(world_size)]
        union = torch.empty(parts[0].size, dtype=torch.int64)
        for part in parts:
            union[part.share[0] :: part.share[1]] = part.positions
            if mixing == "balanced":
                assert int((part.positions < num_real).sum()) * 2 == len(part.positions)
        assert int(union.max()) < num_real + num_generated
        if whole is not None:
            assert torch.equal(union, whole[step].positions)
            assert (parts[0].seed, parts[0].size) == (whole[step].seed, whole[step].size)


@given(sizes, sizes, st.integers(1, 40))
def test_balanced_passes_through_each_side_evenly(num_real: int, num_generated: int, half: int) -> None:
    positions = torch.cat(
        [
            b.positions
            for b in batches(MixedBatches(num_real, num_generated, batch_size=2 * half, mixing="balanced", seed=0))
        ]
    )
    for low, high in ((0, num_real), (num_real, num_real + num_generated)):
        counts = torch.bincount(positions[(positions >= low) & (positions < high)] - low, minlength=high - low)
        assert int(counts.max() - counts.min()) <= 1
        assert int(counts.sum()) * 2 == len(positions)
    larger = max(num_real, num_generated)
    assert larger - half < len(positions) // 2 <= larger  # less than a batch is dropped


@given(sizes, sizes, st.integers(1, 80))
def test_natural_passes_once_through_all_rows(num_real: int, num_generated: int, batch_size: int) -> None:
    found = batches(MixedBatches(num_real, num_generated, batch_size=batch_size, mixing="natural", seed=0))
    positions = torch.cat([b.positions for b in found])
    assert len(positions.unique()) == len(positions) > num_real + num_generated - batch_size
    assert all(torch.equal(b.positions, b.positions.sort().values) for b in found)  # real rows first


def test_natural_draws_both_sides_by_their_size() -> None:
    found = batches(MixedBatches(1000, 4000, batch_size=100, mixing="natural", seed=0))
    shares = torch.tensor([(b.positions < 1000).double().mean() for b in found])
    # without replacement: each share has a standard deviation below √(0.2·0.8/100) = 0.04, their mean is exact
    assert shares.mean().item() == pytest.approx(0.2, abs=1e-12)
    assert shares.std() < 0.06


@pytest.mark.parametrize("mixing", MIXINGS)
def test_a_function_of_seed_and_epoch(mixing: str) -> None:
    def found(seed: int, epoch: int) -> list[tuple[list[int], int | None]]:
        sampler = MixedBatches(40, 90, batch_size=16, mixing=mixing, seed=seed)
        list(itertools.islice(sampler, 2))  # an interrupted pass leaves nothing behind
        return [(b.positions.tolist(), b.seed) for b in batches(sampler, epoch)]

    torch.manual_seed(0)
    first = found(1, 1)
    torch.manual_seed(1)
    assert found(1, 1) == first
    assert found(1, 2) != first
    assert found(2, 1) != first
    assert len({seed for _, seed in first}) == len(first)  # each batch its own augmentation


@pytest.mark.parametrize("mixing", MIXINGS)
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_small_data_give_small_batches(mixing: str, world_size: int) -> None:
    found = [
        batches(MixedBatches(3, 5, batch_size=256, mixing=mixing, seed=0, rank=rank, world_size=world_size), epoch=1)
        for rank in range(world_size)
    ]
    assert [len(f) for f in found] == [1] * world_size
    assert all(len(f[0].positions) == found[0][0].size // world_size > 0 for f in found)
    assert found[0][0].size <= 10
    one_each = MixedBatches(1, 1, batch_size=256, mixing=mixing, seed=0)
    assert [sorted(b.positions.tolist()) for b in one_each] == [[0, 1]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_real": 0}, "rows of both sides, there are 0 real, 5 generated"),
        ({"num_generated": 0}, "rows of both sides, there are 5 real, 0 generated"),
        ({"batch_size": 3}, "data.batch_size=3 must be a positive multiple of 2"),
        ({"batch_size": 0}, "data.batch_size=0 must be"),
        ({"batch_size": -2}, "data.batch_size=-2 must be"),
        ({"batch_size": 6, "world_size": 2}, "multiple of 4"),
        ({"batch_size": 3, "world_size": 2, "mixing": "natural"}, "multiple of 2"),
        ({"mixing": "naturel"}, "data.mixing=naturel: expected one of balanced, natural"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    defaults = {"num_real": 5, "num_generated": 5, "batch_size": 4, "mixing": "balanced", "seed": 0}
    with pytest.raises(InputError, match=message):
        MixedBatches(**{**defaults, **options})


@given(st.integers(0, 200), st.integers(1, 30), st.integers(1, 9))
def test_rows_in_order(num_rows: int, batch_size: int, world_size: int) -> None:
    samplers = [RowsInOrder(num_rows, batch_size=batch_size, rank=r, world_size=world_size) for r in range(world_size)]
    of_ranks = [list(sampler) for sampler in samplers]
    assert len({len(found) for found in of_ranks}) == 1  # nobody waits for a process that has finished
    assert all(len(found) == len(sampler) for found, sampler in zip(of_ranks, samplers, strict=True))
    positions = [i for found in of_ranks for b in found for i in b.positions.tolist()]
    assert positions == list(range(num_rows))  # every row once, blocks one after another
    counts = [sum(len(b.positions) for b in found) for found in of_ranks]
    assert max(counts) - min(counts) <= 1
    assert all(len(b.positions) <= batch_size and b.seed is None for found in of_ranks for b in found)


def test_rows_in_order_needs_a_batch_size() -> None:
    with pytest.raises(InputError, match=r"data\.evaluation_batch_size=0 must be at least 1"):
        RowsInOrder(5, batch_size=0)


@given(st.integers(1, 50), st.integers(0, 200))
def test_passes(num_rows: int, length: int) -> None:
    if length == 0:
        return
    found = passes(num_rows, length, torch.Generator().manual_seed(0))
    for block in found.split(num_rows):
        assert len(block.unique()) == len(block)


def splitmix64(state: int) -> tuple[int, int]:
    """The published generator, as in Vigna's splitmix64.c."""
    state = (state + 0x9E3779B97F4A7C15) % 2**64
    z = state
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    return state, z ^ (z >> 31)


def test_mix_seeds_of_one_number_is_splitmix64() -> None:
    assert splitmix64(1234567)[1] == 6457827717110365317  # first output for that seed in the reference implementation
    for seed in (0, 1, 1234567, 2**63):
        assert mix_seeds(seed) == splitmix64(seed)[1] >> 1


def test_mix_seeds_tells_sequences_apart() -> None:
    pairs = list(itertools.product(range(60), repeat=2))
    seeds = {mix_seeds(*pair) for pair in pairs} | {mix_seeds(i) for i in range(60)}
    assert len(seeds) == len(pairs) + 60
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert mix_seeds(1, 2) != mix_seeds(2, 1)
