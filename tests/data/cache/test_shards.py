"""One safetensors file. Oracle: the safetensors library itself, as writer and as reader."""

import hashlib
import json
import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from lfiw import InputError
from lfiw.data import CacheWriter, SampleCache
from lfiw.data.cache.manifest import CODES, Shard
from lfiw.data.cache.shards import map_shard, open_shard, write_shard


def values(dtype, *shape):
    return torch.randint(0, 2 if dtype == torch.bool else 100, shape, generator=torch.Generator().manual_seed(1)).to(
        dtype
    )


@pytest.mark.parametrize("dtype", CODES, ids=str)
def test_the_library_reads_what_is_written_and_the_other_way(tmp_path, dtype):
    tensors = {"a": values(dtype, 3, 2, 2), "b": values(torch.uint8, 3, 5), "c": values(torch.float64, 3)}
    sha256, num_bytes = write_shard(tmp_path / "ours", tensors)
    save_file(tensors, tmp_path / "theirs")
    ours, theirs = load_file(tmp_path / "ours"), open_shard(tmp_path / "theirs")
    for name, tensor in tensors.items():
        assert torch.equal(ours[name], tensor)
        assert torch.equal(theirs[name], tensor)
        assert theirs[name].dtype == tensor.dtype
    content = (tmp_path / "ours").read_bytes()
    assert (sha256, num_bytes) == (hashlib.sha256(content).hexdigest(), len(content))


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(st.text("abcdef/_", min_size=1, max_size=6), st.sampled_from(list(CODES)), min_size=1, max_size=5)
)
def test_any_mix_of_types_keeps_each_tensor_aligned(tmp_path_factory, dtypes):
    path = tmp_path_factory.mktemp("shard") / "mixed"
    tensors = {name: values(dtype, 3, 1) for name, dtype in dtypes.items()}
    sha256, num_bytes = write_shard(path, tensors)
    shard = Shard(path.name, 3, sha256, num_bytes)
    views = map_shard(path, shard, {name: (dtype, (1,)) for name, dtype in dtypes.items()})
    assert all(torch.equal(views[name], tensor) for name, tensor in tensors.items())


def test_writing_into_a_view_does_not_reach_the_file(tmp_path):
    write_shard(tmp_path / "a", {"x": torch.zeros(4)})
    open_shard(tmp_path / "a")["x"][:] = 7
    assert torch.equal(open_shard(tmp_path / "a")["x"], torch.zeros(4))


ENTRY = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{",
        b"[]",
        b"[" * 5000,
        json.dumps({"x": []}).encode(),
        json.dumps({"x": {**ENTRY, "dtype": "Q7"}}).encode(),
        json.dumps({"x": {**ENTRY, "shape": [-4]}}).encode(),
        json.dumps({"x": {**ENTRY, "shape": [1 << 60]}}).encode(),
        json.dumps({"x": {**ENTRY, "shape": "4"}}).encode(),
        json.dumps({"x": {**ENTRY, "shape": [4.0]}}).encode(),
        json.dumps({"x": {**ENTRY, "data_offsets": [0, 1 << 62]}}).encode(),
        json.dumps({"x": {**ENTRY, "data_offsets": [-16, 0]}}).encode(),
        json.dumps({"x": {**ENTRY, "data_offsets": [16, 32]}}).encode(),
        json.dumps({"x": {**ENTRY, "data_offsets": [0, 16, 32]}}).encode(),
        json.dumps({"x": {**ENTRY, "shape": [3], "data_offsets": [2, 14]}}).encode(),
    ],
)
def test_a_broken_header_is_one_line_with_the_file(tmp_path, header):
    path = tmp_path / "bad.safetensors"
    padded = header + b" " * (-len(header) % 8)
    path.write_bytes(len(padded).to_bytes(8, "little") + padded + bytes(16))
    with pytest.raises(InputError, match=r"bad\.safetensors: .*again"):
        open_shard(path)


@pytest.mark.parametrize(
    "content", [b"1234567", b"\xff" * 8, b"\xff" * 100, (1 << 40).to_bytes(8, "little") + bytes(50)]
)
def test_what_is_no_safetensors_file_at_all(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.safetensors: not a safetensors file"):
        open_shard(path)


def test_other_columns_than_expected(tmp_path):
    path = tmp_path / "a.safetensors"
    shard = Shard(path.name, 4, *write_shard(path, {"x": torch.zeros(4)}))
    for columns in ({"y": (torch.float32, ())}, {"x": (torch.int32, ())}, {"x": (torch.float32, (2,))}):
        with pytest.raises(InputError, match=r"a\.safetensors: holds"):
            map_shard(path, shard, columns)


def test_a_folder_whose_name_is_not_utf_8(tmp_path):
    folder = tmp_path / os.fsdecode(b"lat\xe9n")
    with CacheWriter(folder, source={}) as writer:
        writer.write({"vector": torch.arange(6.0).view(3, 2)})
    cache = SampleCache(folder)
    cache.add_column("x", torch.arange(3.0), stamp={})
    assert SampleCache(folder)["x"].tolist() == [0.0, 1.0, 2.0]
    assert cache["vector"].tolist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
    cache.verify()
