"""Columns computed later: by one process or several, in any order, with interruptions."""

import contextlib
import os
import subprocess
import sys
import threading
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lfiw import InputError
from lfiw.data import CacheWriter, ColumnWriter, SampleCache

N = 100
VALUES = torch.randn(N, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
STAMP = {"name": "net", "sha256": "0" * 64, "preprocessing": ["resize", 299]}


def make(path):
    with CacheWriter(path) as writer:
        writer.write({"image": torch.arange(N, dtype=torch.uint8)})
    return SampleCache(path)


@pytest.fixture
def cache(tmp_path):
    return make(tmp_path / "mine")


def entries(cache, name):
    return sorted(entry.name for entry in (cache.path / "columns" / name).iterdir())


def test_a_tensor_or_blocks(cache):
    cache.add_column("features/a", VALUES, stamp=STAMP)
    cache.add_column("features/b", VALUES.split(7), stamp=STAMP)
    cache.add_column("log_ratio/run", (block[:, 0] for block in VALUES.split(33)), stamp={})
    assert cache.columns == ("image", "features/a", "features/b", "log_ratio/run")
    assert cache.column("features/a").stamp == STAMP
    assert cache.column("features/a").shape == (3,)
    rows = torch.tensor([99, 0, 50])
    read = cache.read(rows, ("log_ratio/run", "image", "features/b"))
    assert list(read) == ["log_ratio/run", "image", "features/b"]
    assert torch.equal(read["features/b"], VALUES[rows])
    assert torch.equal(read["log_ratio/run"], VALUES[rows, 0])
    assert torch.equal(cache["features/a"], VALUES)
    assert list(cache[rows]) == ["image"]
    cache.verify()
    assert entries(cache, "features/a") == [".lock", "00000-00000.safetensors", "manifest.json"]


def test_a_column_inside_the_folder_of_another(cache):
    cache.add_column("features", VALUES, stamp={})
    cache.add_column("features/a", VALUES + 1, stamp={})
    cache.add_column("features", VALUES + 2, stamp={})
    assert torch.equal(cache["features"], VALUES + 2)
    assert torch.equal(cache["features/a"], VALUES + 1)


def test_the_last_writer_wins_and_readers_keep_theirs(cache):
    cache.add_column("x", VALUES, stamp={"run": 1})
    reader = SampleCache(cache.path)
    assert torch.equal(reader["x"], VALUES)
    cache.add_column("x", VALUES.float(), stamp={"run": 2})
    assert torch.equal(reader["x"], VALUES)
    assert torch.equal(cache["x"], VALUES.float())
    assert SampleCache(cache.path).column("x").stamp == {"run": 2}
    assert entries(cache, "x") == [".lock", "00000-00001.safetensors", "manifest.json"]


@pytest.mark.parametrize(
    "values", [VALUES[:99], VALUES[:0], [VALUES, VALUES[:1]], []], ids=["less", "none", "more", "empty"]
)
def test_one_value_for_each_row(cache, values):
    with pytest.raises(InputError, match=r"99 values for 100 rows|0 values for 100|row 100 does not exist"):
        cache.add_column("x/y", values, stamp={})
    assert cache.columns == ("image",)
    assert not (cache.path / "columns/x").exists()


def test_blocks_unlike_each_other(cache):
    with pytest.raises(InputError, match=r"this block has x float64 \[2\], expected x float64 \[3\]"):
        cache.add_column("x", [VALUES[:50], VALUES[50:, :2]], stamp={})


@pytest.mark.parametrize("name", ["../x", "/x", "a//b", ".x", "x.json"])
def test_names_stay_inside(cache, name):
    with pytest.raises(InputError, match="cannot name a column"):
        cache.add_column(name, VALUES, stamp={})


def test_stamp_must_be_json(cache):
    with pytest.raises(InputError, match="stamp cannot be kept as JSON"):
        cache.add_column("x", VALUES, stamp={"net": torch.nn.Linear(1, 1)})


def test_a_cache_that_cannot_be_written(cache):
    (cache.path / "columns").write_text("in the way")
    with pytest.raises(InputError, match=r"columns/x: cannot write there") as error:
        cache.add_column("x", VALUES, stamp={})
    assert "\n" not in str(error.value)


def ranks(cache, world_size, work, **options):
    """Runs `work(writer, rank)` in as many threads; each has its own writer."""
    barrier = threading.Barrier(world_size, timeout=20)
    errors = []

    def run(rank):
        try:
            with ColumnWriter(
                cache, "x", stamp=STAMP, rank=rank, world_size=world_size, barrier=barrier.wait, **options
            ) as writer:
                work(writer, rank)
        except Exception as error:
            barrier.abort()
            errors.append(error)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world_size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return errors


def test_ranks_with_consecutive_rows_rewrite_nothing(cache, monkeypatch):
    monkeypatch.setattr(ColumnWriter, "_merged", lambda *_: pytest.fail("rows were rewritten"))
    cuts = [0, 34, 67, 100]

    def work(writer, rank):
        for start in range(cuts[rank], cuts[rank + 1], 5):
            writer.write(start, VALUES[start : min(start + 5, cuts[rank + 1])])

    assert ranks(cache, 3, work, shard_bytes=10 * 24) == []
    assert torch.equal(cache["x"], VALUES)
    cache.verify()


def test_consecutive_rows_are_not_sorted(cache, monkeypatch):
    monkeypatch.setattr("numpy.unique", lambda *_, **__: pytest.fail("rows were sorted"))
    with ColumnWriter(cache, "x", stamp=STAMP, part_rows=30) as writer:
        for rows in torch.arange(N).split(7):
            writer.write_rows(rows, VALUES[rows])
    assert torch.equal(cache["x"], VALUES)


def test_ranks_with_rows_here_and_there(cache):
    def work(writer, rank):
        rows = torch.arange(rank, N + rank, 3) % N  # as a DistributedSampler: strided, the tail repeated
        for part in rows.split(4):
            writer.write_rows(part, VALUES[part])

    assert ranks(cache, 3, work, shard_bytes=20 * 24) == []
    assert torch.equal(cache["x"], VALUES)
    cache.verify()


def test_many_small_parts_become_few_shards(cache):
    with ColumnWriter(cache, "x", stamp=STAMP, part_rows=1) as writer:
        writer.write(0, VALUES)
    assert entries(cache, "x") == [".lock", "00000-00000.safetensors", "manifest.json"]
    assert torch.equal(cache["x"], VALUES)


def test_rows_that_are_consecutive_only_when_sorted(cache):
    with ColumnWriter(cache, "x", stamp=STAMP) as writer:
        writer.write_rows(torch.arange(N).flip(0), VALUES.flip(0))
    assert torch.equal(cache["x"], VALUES)


@mock.patch.object(os, "fsync", mock.Mock())  # hundreds of tiny files: what is read back here needs none
@settings(max_examples=12, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 40), st.integers(1, 3000))
def test_any_order_and_overlap(tmp_path_factory, random, part_rows, shard_bytes):
    cache = make(tmp_path_factory.mktemp("cache") / "mine")
    blocks = [list(range(start, min(start + 9, N))) for start in range(0, N, 7)]  # two rows are in two blocks
    blocks += [random.sample(range(N), 10) for _ in range(3)]
    random.shuffle(blocks)
    with ColumnWriter(cache, "x", stamp={}, part_rows=part_rows, shard_bytes=shard_bytes) as writer:
        for block in blocks:
            writer.write_rows(torch.tensor(block), VALUES[block])
    assert torch.equal(cache["x"], VALUES)
    cache.verify()


def interrupted(cache, rows, stamp=STAMP):
    """Writes some rows, then fails → what was there at the start."""
    with contextlib.suppress(KeyError), ColumnWriter(cache, "x", stamp=stamp, part_rows=8) as writer:
        for part in torch.tensor(rows).split(5):
            writer.write_rows(part, VALUES[part])
        raise KeyError
    return writer.rows_done


def test_an_interrupted_column_is_finished_later(cache):
    assert interrupted(cache, range(40)) == []
    assert cache.columns == ("image",)
    with ColumnWriter(cache, "x", stamp=STAMP) as writer:
        assert writer.rows_done == [(0, 40)]
        assert writer.missing() == [(40, 100)]
        assert writer.missing(0, 50) == [(40, 50)]
        assert writer.missing(10, 20) == []
        writer.write(40, VALUES[40:])
    assert torch.equal(cache["x"], VALUES)
    assert entries(cache, "x") == [".lock", "00000-00000.safetensors", "manifest.json"]


def test_scattered_rows_are_found_again(cache):
    interrupted(cache, [9, 3, 4, 8])
    with ColumnWriter(cache, "x", stamp=STAMP) as writer:
        assert writer.rows_done == [(3, 5), (8, 10)]
        for first, end in writer.missing():
            writer.write(first, VALUES[first:end])
    assert torch.equal(cache["x"], VALUES)


def test_rows_of_another_stamp_or_table_are_not_reused(cache):
    interrupted(cache, range(40))
    assert interrupted(cache, range(40)) == [(0, 40)]
    assert interrupted(cache, range(40), {"name": "other"}) == []
    assert interrupted(cache, range(40)) == []  # the writer with the other stamp has removed them
    with CacheWriter(cache.path, overwrite=True) as writer:
        writer.write({"image": torch.zeros(N)})
    assert interrupted(cache, [0]) == []


def test_starting_afresh(cache):
    interrupted(cache, range(40))
    with ColumnWriter(cache, "x", stamp=STAMP, resume=False) as writer:
        assert writer.rows_done == []
        writer.write(0, VALUES + 1)
    assert torch.equal(cache["x"], VALUES + 1)


def test_rows_that_are_missing_at_the_end(cache):
    with (
        pytest.raises(InputError, match="x: rows 50 to 99 are not all computed: run it again"),
        ColumnWriter(cache, "x", stamp=STAMP) as writer,
    ):
        writer.write(0, VALUES[:50])
    assert cache.columns == ("image",)
    with ColumnWriter(cache, "x", stamp=STAMP) as writer:
        assert writer.missing() == [(50, 100)]
        writer.write(50, VALUES[50:])


def test_a_damaged_part_is_computed_again(cache):
    interrupted(cache, range(40))
    part = sorted(cache.path.glob("columns/x/.partial-*/table/data/0*.safetensors"))[1]
    part.write_bytes(part.read_bytes()[:50])
    with ColumnWriter(cache, "x", stamp=STAMP) as writer:
        assert writer.rows_done == [(0, 8), (16, 40)]
        for first, end in writer.missing():
            writer.write(first, VALUES[first:end])
    assert torch.equal(cache["x"], VALUES)


def test_two_writers_of_one_column_at_once(cache):
    with ColumnWriter(cache, "x", stamp=STAMP) as first:
        first.write(0, VALUES)
        with ColumnWriter(cache, "x", stamp=STAMP) as second:
            assert second.rows_done == []
            second.write(0, VALUES * 2)
        assert torch.equal(SampleCache(cache.path)["x"], VALUES * 2)
    assert torch.equal(SampleCache(cache.path)["x"], VALUES)
    SampleCache(cache.path).verify()
    assert entries(cache, "x") == [".lock", "00000-00001.safetensors", "manifest.json"]


def test_a_second_group_of_ranks_is_sent_away(cache):
    with ColumnWriter(cache, "x", stamp=STAMP) as first:
        errors = ranks(cache, 2, lambda writer, rank: None)
        assert any(isinstance(error, InputError) and "another run is writing" in str(error) for error in errors)
        first.write(0, VALUES)


def test_a_table_overwritten_meanwhile(cache):
    with CacheWriter(cache.path.with_name("other")) as other:
        other.write({"image": torch.ones(N)})
    writer = ColumnWriter(cache, "x", stamp={}).__enter__()
    writer.write(0, VALUES)
    (cache.path.with_name("other") / "manifest.json").rename(cache.path / "manifest.json")
    with pytest.raises(InputError, match="overwritten while x was computed"):
        writer.__exit__(None, None, None)


@pytest.mark.parametrize("rows", [[-1], [N]])
def test_rows_that_do_not_exist(cache, rows):
    with pytest.raises(InputError, match="does not exist"), ColumnWriter(cache, "x", stamp={}) as writer:
        writer.write_rows(torch.tensor(rows), VALUES[:1])


PROCESS = """
import sys, torch
from lfiw.data import SampleCache
path, names = sys.argv[1], sys.argv[2:]
cache = SampleCache(path)
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    for name in names:
        cache.add_column(name, torch.full((100, 50), float(number)).split(9), stamp={"number": number})
"""


def test_two_processes_add_columns_at_once(cache):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(cache.path), name, "shared"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("features/one", "features/two")
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    seen = 0
    while any(process.poll() is None for process in processes):
        reader = SampleCache(cache.path)
        for name in reader.columns[1:]:
            values = reader[name]
            assert (values == reader.column(name).stamp["number"]).all()
            seen += 1
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert seen > 0
    final = SampleCache(cache.path)
    assert final.columns == ("image", "features/one", "features/two", "shared")
    assert all((final[name] == 19).all() for name in final.columns[1:])
    final.verify()
    assert len(entries(cache, "shared")) == 3
