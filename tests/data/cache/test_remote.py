"""Caches on object storage: memory, files and a real S3 server on this machine's loopback."""

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from lfiw import InputError
from lfiw.data import CacheWriter, SampleCache
from lfiw.data.cache import remote
from lfiw.data.cache.remote import RemotePieces, Storage, check_remote_target, upload

ROWS = 100
IMAGES = torch.randint(256, (ROWS, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(ROWS)
SHARD = 20 * (48 + 8)


class Flaky(MemoryFileSystem):
    """Loses the connection at the first calls, and counts what was fetched."""

    protocol = "flaky"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    failures = 0
    fetched: ClassVar[list[str]] = []

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode == "rb":
            if Flaky.failures:
                Flaky.failures -= 1
                raise ConnectionResetError("connection lost")
            Flaky.fetched.append(path)
        return super()._open(path, mode, **options)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.01)
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    Flaky.store.clear()
    Flaky.failures = 0
    Flaky.fetched.clear()


def write(folder: Path, images: torch.Tensor = IMAGES) -> Path:
    with CacheWriter(folder, source={"generator": "noise"}, shard_bytes=SHARD, overwrite=True) as writer:
        writer.write({"image": images, "label": LABELS})
    return folder


def send(tmp_path: Path, url: str, images: torch.Tensor = IMAGES) -> str:
    upload(write(tmp_path / "local", images), url)
    assert not (tmp_path / "local").exists()
    return url


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    pytest.importorskip("s3fs", reason="the extra s3")
    moto_server = pytest.importorskip("moto.server", reason="the extra dev")
    running = moto_server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in {
        "AWS_ENDPOINT_URL": server, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    if not files.exists("bucket"):
        files.mkdir("bucket")
    elif files.exists("bucket/mine"):
        files.rm("bucket/mine", recursive=True)
    return "s3://bucket/mine"


@pytest.fixture(params=["memory", "file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        found: str = request.getfixturevalue("bucket")
        return found
    return f"file://{tmp_path}/there" if request.param == "file" else f"memory://{tmp_path.name}/mine"


def test_reads_as_a_local_one(url: str, tmp_path: Path) -> None:
    local = SampleCache(write(tmp_path / "same"))
    cache = SampleCache(send(tmp_path, url))
    assert (len(cache), cache.columns, cache.identity) == (ROWS, ("image", "label"), local.identity)
    assert cache.source == {"generator": "noise"}
    assert torch.equal(cache["image"], IMAGES)
    rows = torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))[:37]
    for key in (rows, slice(15, 63), slice(20, 40), slice(99, 100), slice(50, 50), slice(0, ROWS)):
        for name, values in local[key].items():
            assert torch.equal(cache[key][name], values), key
    assert cache[7]["label"] == 7
    cache.verify()
    again = pickle.loads(pickle.dumps(cache))
    assert again.url == url
    assert torch.equal(again[rows]["label"], rows)
    with pytest.raises(InputError, match="row 100 does not exist"):
        cache[[100]]


def test_columns_that_are_added_stay_here(tmp_path: Path) -> None:
    url = send(tmp_path, "memory://added/mine")
    cache = SampleCache(url)
    cache.add_column("log_ratio/a", torch.arange(float(ROWS)), stamp={"name": "a"})
    assert SampleCache(url).read([3, 90], ["log_ratio/a"])["log_ratio/a"].tolist() == [3, 90]
    assert "log_ratio/a" in SampleCache(url).columns
    send(tmp_path, url, 255 - IMAGES)
    assert SampleCache(url).columns == ("image", "label")  # another table


def test_a_lost_connection_is_tried_again(tmp_path: Path) -> None:
    url = send(tmp_path, "flaky://mine")
    Flaky.failures = 3
    assert torch.equal(SampleCache(url)["image"], IMAGES)
    cache = SampleCache(url)
    Flaky.failures = 100
    assert torch.equal(cache["image"], IMAGES)  # all shards are here
    (tmp_path / "home/lfiw/shards").rename(tmp_path / "gone")
    with pytest.raises(InputError, match=r"flaky://mine/data/.*: failed 5 times \(connection lost\)"):
        SampleCache(url)["image"]


def test_a_shard_is_fetched_once(tmp_path: Path) -> None:
    cache = SampleCache(send(tmp_path, "flaky://mine"))
    Flaky.fetched.clear()
    cache[[3, 5, 90]]
    assert len(Flaky.fetched) == 2
    cache[0:100]
    assert len(Flaky.fetched) == 5
    SampleCache("flaky://mine")["label"]
    assert sum("data" in name for name in Flaky.fetched) == 5


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing"])
def test_a_damaged_object_is_found_by_its_hash(url: str, damage: str, tmp_path: Path) -> None:
    storage = Storage(send(tmp_path, url))
    name = "data/00000-00002.safetensors"
    content = storage.read(name)
    if damage == "missing":
        storage.remove(name)
    else:
        storage.write(name, content[:-100] if damage == "truncated" else content[:-1] + bytes([content[-1] ^ 1]))
    cache = SampleCache(url)
    assert torch.equal(cache[0:40]["image"], IMAGES[:40])
    told = "the shard is missing" if damage == "missing" else r"the content is not what was written \([\d,]+ bytes of"
    with pytest.raises(InputError, match=f"{name}: {told}"):
        cache[[45]]
    with pytest.raises(InputError, match=told):
        cache.verify()
    assert not list((tmp_path / "home/lfiw/shards").glob(".*"))


def test_the_folder_of_shards_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = send(tmp_path, "flaky://mine")
    size = max(shard.num_bytes for shard in SampleCache(url)._manifest.shards)
    monkeypatch.setenv("LFIW_SHARD_BYTES", str(2 * size + size // 2))
    cache = SampleCache(url)
    assert torch.equal(cache["image"], IMAGES)
    shards = tmp_path / "home/lfiw/shards"
    assert sum(path.stat().st_size for path in shards.iterdir()) <= 2.5 * size
    assert isinstance(cache._base, RemotePieces)
    assert len(cache._base._open) <= 2
    order = torch.randperm(ROWS)
    assert torch.equal(cache[order]["image"], IMAGES[order])
    # what was used last stays
    cache[0:20]
    os.utime(cache._base.store.path(cache._manifest.shards[0]), (2e9, 2e9))
    cache[20:60]
    assert cache._base.store.path(cache._manifest.shards[0]).is_file()
    monkeypatch.setenv("LFIW_SHARD_BYTES", "much")
    with pytest.raises(InputError, match="LFIW_SHARD_BYTES=much"):
        SampleCache(url)


def test_overwriting(url: str, tmp_path: Path) -> None:
    check_remote_target(url, overwrite=False)
    send(tmp_path, url)
    with pytest.raises(InputError, match="exists already"):
        check_remote_target(url, overwrite=False)
    check_remote_target(url, overwrite=True)
    open_before = SampleCache(url)
    open_before["image"]
    send(tmp_path, url, 255 - IMAGES)
    assert torch.equal(SampleCache(url)["image"], 255 - IMAGES)
    assert torch.equal(open_before["image"], IMAGES)  # fetched before
    assert len(Storage(url).names()) == 1 + 5
    Storage(url).write("notes.txt", b"mine")
    with pytest.raises(InputError, match=r"holds notes\.txt, so it is no cache"):
        check_remote_target(url, overwrite=True)


def test_what_is_no_cache(url: str) -> None:
    with pytest.raises(InputError, match=r"no cache there \(no manifest\.json\)"):
        SampleCache(url)


def test_protocols_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"nonsense://a: Protocol not known: nonsense"):
        SampleCache("nonsense://a")
