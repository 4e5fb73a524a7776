"""A cache that was cut, edited or forged is refused with one line that names the file."""

import json
import os
import re
import shutil

import pytest
import torch

from lfiw import InputError
from lfiw.data import CacheWriter, SampleCache

SHARD = "data/00000-00001.safetensors"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "mine"
    with CacheWriter(path, source={"seed": 0}, shard_bytes=400) as writer:
        writer.write({"image": torch.arange(100).view(25, 4).float(), "label": torch.arange(25)})
    SampleCache(path).add_column("features/a", torch.arange(25.0), stamp={"name": "a"})
    return path


def refused(path, pattern):
    with pytest.raises(InputError, match=pattern) as error:
        SampleCache(path)
    assert "\n" not in str(error.value)


def test_nothing_there(tmp_path):
    refused(tmp_path / "none", "none: no cache there")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "empty: no cache there")
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file", "file: no cache there")


def test_truncated_shard(path):
    os.truncate(path / SHARD, (path / SHARD).stat().st_size - 1)
    refused(path, rf"{SHARD}: .* truncated")


def test_missing_shard(path):
    (path / SHARD).unlink()
    refused(path, rf"{SHARD}: the shard is missing")


def test_shard_that_is_a_folder(path):
    (path / SHARD).unlink()
    (path / SHARD).mkdir()
    refused(path, SHARD)


def test_shard_of_another_column(path):
    source = path / "data/00000-00000.safetensors"
    content = source.read_bytes().replace(b'"image"', b'"imoge"')
    source.write_bytes(content)
    refused(path, "00000-00000.safetensors: holds")


@pytest.mark.parametrize("file", [SHARD, "columns/features/a/00000-00000.safetensors"])
def test_verify_names_an_edited_shard(path, file):
    with open(path / file, "r+b") as shard:
        shard.seek(-1, os.SEEK_END)
        last = shard.read(1)[0]
        shard.seek(-1, os.SEEK_END)
        shard.write(bytes([last ^ 1]))
    cache = SampleCache(path)
    with pytest.raises(InputError, match=rf"{file}: the content is not what was written"):
        cache.verify()


def test_verify_names_a_shard_that_vanished(path):
    cache = SampleCache(path)
    (path / SHARD).unlink()
    with pytest.raises(InputError, match=rf"{SHARD}: cannot be read"):
        cache.verify()


def edited(path, change):
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def shard(key, value):
    return lambda manifest: manifest["shards"][0].__setitem__(key, value)


def key(name, value):
    return lambda manifest: manifest.__setitem__(name, value)


def image(name, value):
    return lambda manifest: manifest["columns"]["image"].__setitem__(name, value)


FORGED = {
    "format": key("format", "lfiw-column"),
    "version": key("version", 2),
    "rows": key("num_rows", 24),
    "rows_text": key("num_rows", "25"),
    "rows_true": key("num_rows", True),
    "rows_negative": key("num_rows", -25),
    "columns_list": key("columns", ["image"]),
    "columns_empty": key("columns", {}),
    "column_name": key("columns", {"../../x": {"dtype": "uint8", "shape": []}}),
    "column_text": key("columns", {"image": "uint8"}),
    "dtype": image("dtype", "object"),
    "dtype_list": image("dtype", ["uint8"]),
    "shape_negative": image("shape", [-4]),
    "shape_zero": image("shape", [0]),
    "shape_absurd": image("shape", [1 << 40, 1 << 40]),
    "shape_wrong": image("shape", [5]),
    "shape_float": image("shape", [4.0]),
    "shape_true": image("shape", [True, 4]),
    "shape_long": image("shape", [1] * 9),
    "shards_empty": key("shards", []),
    "shards_text": key("shards", "data"),
    "shard_text": lambda manifest: manifest["shards"].__setitem__(0, "data/00000-00000.safetensors"),
    "shard_twice": lambda manifest: manifest["shards"].append(manifest["shards"][0]),
    "file_parent": shard("file", "../data/00000-00000.safetensors"),
    "file_inner_parent": shard("file", "data/../../x.safetensors"),
    "file_absolute": shard("file", "/etc/passwd"),
    "file_newline": shard("file", "data/00000-00000.safetensors\n"),
    "file_number": shard("file", 3),
    "sha_short": shard("sha256", "abc"),
    "sha_other": shard("sha256", "0" * 64),
    "shard_rows": shard("num_rows", 1 << 70),
    "shard_bytes": shard("num_bytes", 1 << 61),
    "shard_bytes_zero": shard("num_bytes", 0),
    "source": key("source", "somewhere"),
    "identity": key("identity", "0" * 64),
    "identity_none": key("identity", None),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_manifest(path, name):
    edited(path / "manifest.json", FORGED[name])
    refused(path, r"(manifest\.json|\.safetensors): ")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", "[" * 100_000, '{"format": ', "\xff\xfe", "9" * 5000])
def test_manifest_that_is_no_json_mapping(path, text):
    (path / "manifest.json").write_bytes(text.encode("latin-1"))
    refused(path, r"manifest\.json: ")


FORGED_COLUMN = {
    "format": key("format", "lfiw-cache"),
    "column": key("column", "features/b"),
    "table": key("table", "x"),
    "dtype": key("dtype", "float64"),
    "shape": key("shape", [3]),
    "file": shard("file", "../../../data/00000-00000.safetensors"),
    "file_data": shard("file", "data/00000-00000.safetensors"),
    "stamp": key("stamp", []),
    "rows": key("num_rows", 26),
}


@pytest.mark.parametrize("name", FORGED_COLUMN)
def test_forged_column_manifest(path, name):
    edited(path / "columns/features/a/manifest.json", FORGED_COLUMN[name])
    with pytest.raises(InputError, match=r"columns/features/a/.*(manifest\.json|\.safetensors): "):
        SampleCache(path)["features/a"]


def test_column_with_too_few_rows(path, tmp_path):
    with CacheWriter(tmp_path / "short") as writer:
        writer.write({"image": torch.zeros(3)})
    short = SampleCache(tmp_path / "short")
    short.add_column("features/a", torch.zeros(3), stamp={})
    shutil.rmtree(path / "columns/features/a")
    shutil.copytree(tmp_path / "short/columns/features/a", path / "columns/features/a")
    edited(path / "columns/features/a/manifest.json", key("table", SampleCache(path).identity))
    with pytest.raises(InputError, match="another version of the table"):
        SampleCache(path)["features/a"]


def test_stale_column(path):
    kept = path.with_name("kept")
    shutil.copytree(path / "columns", kept)
    with CacheWriter(path, overwrite=True) as writer:
        writer.write({"image": torch.zeros(25, 4)})
    shutil.copytree(kept, path / "columns")
    cache = SampleCache(path)
    assert cache.columns == ("image",)
    with pytest.raises(
        InputError, match=re.escape(str(path / "columns/features/a")) + ".*another version.*compute it again"
    ):
        cache["features/a"]
    cache.add_column("features/a", torch.zeros(25), stamp={"name": "a"})
    assert cache.columns == ("image", "features/a")
    cache.verify()
