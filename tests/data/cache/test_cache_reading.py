"""A cache on disk reads as the tensors that were written. Oracle: numpy indexing of these."""

import os
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from lfiw import InputError
from lfiw.data import CacheWriter, Column, SampleCache, Table
from lfiw.data.cache import shards
from lfiw.data.cache.manifest import CODES

N = 300
IMAGES = torch.randint(0, 256, (N, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(N) % 7


def write(path, shard_bytes=1 << 20, block=64, overwrite=False, images=IMAGES):
    with CacheWriter(path, source={"seed": 0}, shard_bytes=shard_bytes, overwrite=overwrite) as writer:
        for start in range(0, N, block):
            writer.write({"image": images[start : start + block], "label": LABELS[start : start + block]})
    return SampleCache(path)


def files(path):
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())


@pytest.fixture(params=[1, 3000, 1 << 20], ids=["row_a_shard", "several_shards", "one_shard"])
def cache(tmp_path, request, monkeypatch):
    monkeypatch.setattr(shards, "RESIDENT_BYTES", 0)  # so that small columns take the way of large ones
    return write(tmp_path / "mine", request.param)


def test_whole_columns(cache):
    assert isinstance(cache, Table)
    assert len(cache) == N
    assert cache.columns == ("image", "label")
    assert cache.source == {"seed": 0}
    assert cache.column("image") == Column("image", torch.uint8, (3, 4, 4))
    assert torch.equal(cache["image"], IMAGES)
    assert torch.equal(cache["label"], LABELS)
    cache.verify()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, N - 1), max_size=50))
def test_rows_equal_numpy(several_shards, rows):
    index = np.array(rows, dtype=np.int64)
    for read in (several_shards[rows], several_shards[index], several_shards.__getitems__(rows)):
        np.testing.assert_array_equal(read["image"].numpy(), IMAGES.numpy()[index])
        np.testing.assert_array_equal(read["label"].numpy(), LABELS.numpy()[index])


@pytest.fixture(scope="module")
def several_shards(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "RESIDENT_BYTES", 0)
        yield write(tmp_path_factory.mktemp("cache") / "mine", 3000)


@pytest.mark.parametrize(
    "rows", [slice(0, 0), slice(50, 60), slice(10, 290), slice(None), slice(-3, None), slice(300, 400)]
)
def test_slices(cache, rows):
    assert torch.equal(cache[rows]["image"], IMAGES[rows])


def test_all_rows_shuffled(cache):
    rows = torch.randperm(N, generator=torch.Generator().manual_seed(3))
    assert torch.equal(cache[rows]["image"], IMAGES[rows])


def test_what_is_read_is_a_copy(cache):
    for rows in (slice(0, 2), [0, 1]):
        cache[rows]["image"].fill_(0)
    assert torch.equal(cache["image"], IMAGES)


def test_one_row_and_wrong_rows(cache):
    assert torch.equal(cache[5]["image"], IMAGES[5])
    for rows in ([-1], [N], torch.tensor([0, N])):
        with pytest.raises(InputError, match=f"rows 0 to {N - 1}"):
            cache[rows]
    with pytest.raises(InputError, match="no column 'pixels'"):
        cache["pixels"]
    with pytest.raises(InputError, match="cannot name a column"):
        cache["../secret"]


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(list(CODES)),
    st.lists(st.integers(1, 3), max_size=3),
    st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any),
    st.integers(1, 200),
)
def test_round_trip_of_any_type_shape_and_cut(tmp_path_factory, dtype, shape, blocks, shard_bytes):
    rows = sum(blocks)
    values = torch.randint(0, 2, (rows, *shape), generator=torch.Generator().manual_seed(rows)).to(dtype)
    path = tmp_path_factory.mktemp("cache") / "mine"
    with CacheWriter(path, shard_bytes=shard_bytes) as writer:
        for block in values.split(blocks):
            writer.write({"x": block})
    cache = SampleCache(path)
    order = torch.arange(rows - 1, -1, -1)
    assert cache["x"].dtype == dtype
    assert torch.equal(cache["x"], values)
    assert torch.equal(cache[order]["x"], values[order])


def test_one_shard_is_read_without_a_copy(tmp_path):
    cache = write(tmp_path / "mine")
    assert cache["image"].data_ptr() == cache["image"].data_ptr()
    if not os.path.exists("/proc/self/maps"):
        pytest.skip("this system does not list a process's memory maps")
    with open("/proc/self/maps") as maps:
        regions = [line.split()[0].split("-") for line in maps if "mine/data/00000-00000.safetensors" in line]
    address = cache["image"].data_ptr()
    assert any(int(start, 16) <= address < int(stop, 16) for start, stop in regions)


@pytest.mark.parametrize(("workers", "start_method"), [(0, None), (2, "fork"), (2, "spawn")])
def test_data_loader(several_shards, workers, start_method):
    loader = DataLoader(
        several_shards,
        batch_size=64,
        shuffle=True,
        num_workers=workers,
        collate_fn=same,
        multiprocessing_context=start_method,
        generator=torch.Generator().manual_seed(0),
    )
    batches = list(loader)
    assert [len(batch["image"]) for batch in batches] == [64, 64, 64, 64, 44]
    images = torch.cat([batch["image"] for batch in batches]).flatten(1)
    order = np.lexsort(images.numpy().T)
    expected = IMAGES.flatten(1).numpy()
    np.testing.assert_array_equal(images.numpy()[order], expected[np.lexsort(expected.T)])


def same(batch):
    return batch


def test_pickled_cache_is_opened_again(cache):
    again = pickle.loads(pickle.dumps(cache))
    assert torch.equal(again["image"], IMAGES)
    assert len(pickle.dumps(cache)) < 1000  # paths, no data


def test_pickled_cache_is_not_taken_for_its_successor(tmp_path):
    state = pickle.dumps(write(tmp_path / "mine"))
    write(tmp_path / "mine", images=255 - IMAGES, overwrite=True)
    with pytest.raises(InputError, match="overwritten since"):
        pickle.loads(state)


def test_open_files_do_not_add_up(tmp_path):
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    if before is None:
        pytest.skip("this system does not list a process's open files")
    cache = write(tmp_path / "mine", shard_bytes=1)
    assert torch.equal(cache["label"], LABELS)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_identity_is_of_the_content(tmp_path):
    first, same_content = write(tmp_path / "a"), write(tmp_path / "b", block=7)
    other = write(tmp_path / "c", images=255 - IMAGES)
    assert first.identity == same_content.identity != other.identity


def test_columns_of_one_name_as_base_and_later(cache):
    with pytest.raises(InputError, match="base column"):
        cache.add_column("image", torch.zeros(N), stamp={})
