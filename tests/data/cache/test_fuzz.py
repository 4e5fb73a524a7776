"""A manifest or a shard with any bytes in it: it reads, or it is an InputError of one line. Never anything else."""

import json
import os
import struct
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lfiw import InputError
from lfiw.data import CacheWriter, SampleCache
from lfiw.data.cache.reader import write_rows
from lfiw.data.cache.shards import open_shard

numbers = st.one_of(
    st.integers(-2, 5),
    st.sampled_from([0, 7, 2**31, 2**53, 2**62, 2**63, 2**64, 10**40, -(2**63), 1e308, 0.5]),
    st.integers(),
)
texts = st.one_of(
    st.sampled_from(
        ["", ".", "..", "../x", "/etc/passwd", "/dev/zero", "a\0b", "\ud800", "data/00000-00000.safetensors", "row",
         "image", "uint8", "float64", "lfiw-cache", "lfiw-rows", "lfiw-column", "0" * 64, "../table", "x" * 5000]
    ),
    st.text(max_size=8),
)  # fmt: skip
scalars = st.one_of(st.none(), st.booleans(), numbers, texts, st.floats())
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=8,
)


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a JSON tree."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


def changed(tree: Any, path: tuple[Any, ...], value: Any, how: str) -> Any:
    """A copy with one value replaced, removed, or added beside."""
    if not path:
        return value
    copy = json.loads(json.dumps(tree))
    node = copy
    for key in path[:-1]:
        node = node[key]
    if how == "remove":
        del node[path[-1]]
    elif how == "add" and isinstance(node, list):
        node.insert(path[-1], value)
    elif how == "add":
        node[str(value)[:50]] = value
    else:
        node[path[-1]] = value
    return copy


@st.composite
def forged(draw: st.DrawFn, tree: Any) -> bytes:
    """A manifest with one to three changes, or cut, or with other bytes in it."""
    for _ in range(draw(st.integers(1, 3))):
        paths = places(tree)
        tree = changed(
            tree, draw(st.sampled_from(paths)), draw(values), draw(st.sampled_from(["replace", "remove", "add"]))
        )
        if not isinstance(tree, dict | list):
            break
    text = json.dumps(tree).encode()
    return draw(mangled(text)) if draw(st.integers(0, 4)) == 0 else text


@st.composite
def mangled(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes cut, replaced or put in."""
    start = draw(st.integers(0, len(content)))
    stop = draw(st.integers(start, min(len(content), start + 9)))
    return content[:start] + draw(st.binary(max_size=9)) + content[stop:]


def entries() -> st.SearchStrategy[Any]:
    shapes = st.one_of(st.lists(numbers, max_size=3), st.lists(st.just(1), max_size=80), values)
    whole = st.fixed_dictionaries(
        {"dtype": st.one_of(st.sampled_from(["F32", "U8", "I64", "Q7"]), values), "shape": shapes,
         "data_offsets": st.one_of(st.lists(st.integers(0, 20), min_size=2, max_size=2), values)}
    )  # fmt: skip
    return st.one_of(whole, values)


headers = st.one_of(st.dictionaries(texts, entries(), max_size=3), values)


def reads_or_is_refused(read: Any) -> bool:
    """Whether it could be read; anything but an InputError of one line fails."""
    told = None
    try:
        read()
    except InputError as error:
        told = str(error)
    assert told is None or ("\n" not in told and len(told) < 20_000)
    return told is None


class Fuzz:
    """Writes what is drawn over a file of a whole cache and reads that: table, rows of it, and a later column."""

    def __init__(self, folder: Path) -> None:
        self.table, self.rows = folder / "table", folder / "rows"
        with CacheWriter(self.table, source={"seed": 0}) as writer:
            writer.write({"image": torch.arange(24).view(6, 4).float(), "label": torch.arange(6)})
        cache = SampleCache(self.table)
        cache.add_column("features/a", torch.arange(6.0), stamp={"name": "a"})
        write_rows(self.rows, cache, torch.tensor([1, 1, 4]), source={})
        self.files = {
            "table": self.table / "manifest.json",
            "rows": self.rows / "manifest.json",
            "column": self.table / "columns/features/a/manifest.json",
            "shard": self.table / "data/00000-00000.safetensors",
        }
        self.whole = {name: file.read_bytes() for name, file in self.files.items()}
        self.read = 0

    def forge(self, draw: Any) -> None:
        name = draw(st.sampled_from(list(self.files)))
        if name == "shard":
            content = draw(st.one_of(self.header(), mangled(self.whole[name])))
        else:
            content = draw(forged(json.loads(self.whole[name])))
        self.files[name].write_bytes(content)
        try:
            self.read += reads_or_is_refused(self.read_all)
            if name == "shard":
                reads_or_is_refused(lambda: open_shard(self.files[name]))
        finally:
            self.files[name].write_bytes(self.whole[name])

    def read_all(self) -> None:
        for path in (self.table, self.rows):
            cache = SampleCache(path)
            for name in cache.columns:
                cache.column(name)
                cache.read([0, len(cache) - 1], [name])
            cache.verify()

    @staticmethod
    def header() -> st.SearchStrategy[bytes]:
        lengths = st.one_of(st.none(), st.integers(0, 2**64 - 1))

        def packed(header: Any, length: int | None, rest: bytes) -> bytes:
            text = json.dumps(header).encode()
            return struct.pack("<Q", len(text) if length is None else length) + text + rest

        return st.builds(packed, headers, lengths, st.binary(max_size=64))


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> Fuzz:
    return Fuzz(tmp_path_factory.mktemp("fuzz"))


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@settings(max_examples=400, deadline=None, suppress_health_check=QUIET)
@given(st.data())
def test_any_manifest_or_shard(fuzz: Fuzz, data: st.DataObject) -> None:
    fuzz.forge(data.draw)


@pytest.mark.slow
def test_a_hundred_thousand(fuzz: Fuzz) -> None:
    """LFIW_FUZZ=N: another number of inputs."""
    number, started, before = int(os.environ.get("LFIW_FUZZ", "100000")), time.perf_counter(), fuzz.read

    @settings(max_examples=number, deadline=None, database=None, suppress_health_check=QUIET)
    @given(st.data())
    def forge(data: st.DataObject) -> None:
        fuzz.forge(data.draw)

    forge()
    print(f"\n{number:,} inputs in {time.perf_counter() - started:.0f} s, {fuzz.read - before:,} of them readable")


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "loop", "sparse"])
def test_a_manifest_that_is_no_file(tmp_path: Path, kind: str) -> None:
    """Reading a pipe would wait for ever, reading /dev/zero fill the memory."""
    file = tmp_path / "manifest.json"
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    elif kind == "folder":
        file.mkdir()
    elif kind == "loop":
        file.symlink_to(file)
    else:
        file.touch()
        os.truncate(file, 1 << 40)
    with pytest.raises(InputError, match=r"manifest\.json: (not a file|cannot be read)"):
        SampleCache(tmp_path)


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_a_shard_that_is_no_file(fuzz: Fuzz, kind: str) -> None:
    shard = fuzz.files["shard"]
    shard.unlink()
    try:
        os.mkfifo(shard) if kind == "fifo" else shard.symlink_to("/dev/zero")
        with pytest.raises(InputError, match=r"00000-00000\.safetensors: 0 bytes where the manifest says"):
            SampleCache(fuzz.table)
    finally:
        shard.unlink()
        shard.write_bytes(fuzz.whole["shard"])
