"""Caches on object storage: any URL that fsspec opens. Whole shards come into a bounded local folder, checked.

This machine keeps, in the folder lfiw of $XDG_CACHE_HOME or ~/.cache:

    shards/<sha256>.safetensors      shards of any cache, named by content; the least recently used go first
    remote/<hash>/                   per table, its manifest and the columns computed here

fsspec's own `filecache` has neither a size limit nor hashes.
"""

import contextlib
import hashlib
import json
import os
import random
import shutil
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from typing import TypeVar

import torch
from fsspec.core import url_to_fs
from torch import Tensor

from lfiw.data.cache.manifest import FILE, TABLE_SHARD, Layout, Shard, TableManifest, read_table_manifest
from lfiw.data.cache.shards import PiecedColumn, Plan, hash_file, map_shard
from lfiw.data.cache.writer import check_entries
from lfiw.errors import InputError, first_line
from lfiw.files import write_atomically, write_errors

T = TypeVar("T")

LIMIT_BYTES = 32 << 30  # of the local shards
LIMIT_VARIABLE = "LFIW_SHARD_BYTES"  # another limit
OPEN_SHARDS = 256  # mapped at the same time
TRIES, FIRST_PAUSE = 5, 0.2  # seconds; doubled each time
PREFETCHING = 4  # shards fetched at the same time


def is_url(path: object) -> bool:
    return isinstance(path, str) and "://" in path


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lfiw"


class Storage:
    """A folder on object storage.

    Raises:
        InputError: the protocol is unknown, or its package is missing.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        try:
            self.files, self.root = url_to_fs(self.url)
        except ImportError as error:
            extra = " (pip install -e '.[s3]')" if self.url.startswith("s3") else ""
            raise InputError(f"{url}: {first_line(error)}{extra}") from None
        except ValueError as error:
            raise InputError(f"{url}: {first_line(error)}") from None
        if hasattr(self.files, "auto_mkdir"):  # only a file system has folders to make
            self.files.auto_mkdir = True

    def read(self, name: str) -> bytes:
        content: bytes = self._retried(name, lambda: self.files.cat_file(f"{self.root}/{name}"))
        return content

    def get(self, name: str, target: Path) -> None:
        self._retried(name, lambda: self.files.get_file(f"{self.root}/{name}", str(target)))

    def put(self, source: Path, name: str) -> None:
        self._retried(name, lambda: self.files.put_file(str(source), f"{self.root}/{name}"))

    def write(self, name: str, content: bytes) -> None:
        self._retried(name, lambda: self.files.pipe_file(f"{self.root}/{name}", content))

    def names(self) -> list[str]:
        """Returns all files of the folder, as paths relative to it."""
        self.files.invalidate_cache()
        paths = self._retried("", lambda: self.files.find(self.root))
        root = self.root.rstrip("/") + "/"
        return [name[len(root) :] for name in paths if name.startswith(root)]

    def remove(self, name: str) -> None:
        self._retried(name, lambda: self.files.rm_file(f"{self.root}/{name}"))

    def _retried(self, name: str, action: Callable[[], T]) -> T:
        """Runs the action, and again after a pause if the connection was lost.

        Raises:
            FileNotFoundError: the object does not exist.
            InputError: it failed `TRIES` times, or is not allowed.
        """
        what = f"{self.url}/{name}".rstrip("/")
        for attempt in range(TRIES):
            try:
                return action()
            except FileNotFoundError:
                raise
            except PermissionError as error:
                raise InputError(f"{what}: not allowed ({first_line(error)}): check the credentials") from None
            except Exception as error:  # every client has its own exceptions for a lost connection
                if attempt == TRIES - 1:
                    raise InputError(f"{what}: failed {TRIES} times ({first_line(error)})") from error
                time.sleep(FIRST_PAUSE * 2**attempt * (1 + random.random()))
        raise AssertionError


class ShardStore:
    """The bounded local folder of shards; processes share it.

    Args:
        limit_bytes: above this, the least recently used shards are removed.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder, self.limit_bytes = folder, limit_bytes

    def path(self, shard: Shard) -> Path:
        return self.folder / f"{shard.sha256}.safetensors"

    def fetch(self, storage: Storage, shard: Shard) -> Path:
        """Returns the shard as a local file with the content that the manifest states.

        Raises:
            InputError: the object is missing, truncated or changed, or cannot be fetched or stored.
        """
        path = self.path(shard)
        if path.is_file() and path.stat().st_size == shard.num_bytes:
            with contextlib.suppress(OSError):
                os.utime(path)  # used now
            return path
        where = f"{storage.url}/{shard.file}"
        with write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = self.folder / f".{shard.sha256}~{token_hex(4)}"
            try:
                for attempt in range(2):  # a transfer may break off without an error
                    try:
                        storage.get(shard.file, temporary)
                    except FileNotFoundError:
                        raise InputError(f"{where}: the shard is missing: write this cache again") from None
                    size = temporary.stat().st_size
                    if size == shard.num_bytes and hash_file(temporary) == shard.sha256:
                        break
                    if attempt:
                        raise InputError(
                            f"{where}: the content is not what was written ({size:,} bytes of {shard.num_bytes:,}, "
                            "SHA-256 differs): write this cache again"
                        )
                self._make_room(shard.num_bytes)
                os.replace(temporary, path)
            finally:
                with contextlib.suppress(OSError):
                    temporary.unlink()
        return path

    def _make_room(self, wanted: int) -> None:
        """Removes the least recently used files; whoever has mapped one can still read it."""
        files = []
        for path in self.folder.glob("*.safetensors"):
            with contextlib.suppress(OSError):  # another process removed it
                stat = path.stat()
                files.append((stat.st_mtime, stat.st_size, path))
        used = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if used + wanted <= self.limit_bytes:
                return
            path.unlink(missing_ok=True)
            used -= size


class RemotePieces:
    """As `reader.Pieces`, but shards are fetched on first use."""

    def __init__(
        self, storage: Storage, store: ShardStore, shards: Sequence[Shard], layouts: Mapping[str, Layout]
    ) -> None:
        self.storage, self.store, self.shards, self.layouts = storage, store, tuple(shards), dict(layouts)
        self.columns: Mapping[str, PiecedColumn | RemoteColumn] = {name: RemoteColumn(self, name) for name in layouts}
        self.bounds = torch.tensor([0, *(shard.num_rows for shard in shards)]).cumsum(0)
        self._open: OrderedDict[int, dict[str, Tensor]] = OrderedDict()

    def views(self, number: int) -> dict[str, Tensor]:
        """Maps the columns of one shard."""
        if number not in self._open:
            shard = self.shards[number]
            self._open[number] = map_shard(self.store.fetch(self.storage, shard), shard, self.layouts)
            if len(self._open) > self._limit():
                self._open.popitem(last=False)
            if len(self._open) == len(self.shards):  # all are local now: random rows cost what they do in a local cache
                views = [self._open[here] for here in range(len(self.shards))]
                self.columns = {name: PiecedColumn([view[name] for view in views]) for name in self.layouts}
        self._open.move_to_end(number)
        return self._open[number]

    def _limit(self) -> int:
        """Returns how many files may be mapped: a removed file occupies the disk as long as it is mapped."""
        largest = max(shard.num_bytes for shard in self.shards)
        return max(1, min(OPEN_SHARDS, self.store.limit_bytes // largest))

    def verify(self) -> None:
        """Fetches every shard again and checks it.

        Raises:
            InputError: a shard's content is not what was written; the message names the first one.
        """
        for shard in self.shards:
            self.store.path(shard).unlink(missing_ok=True)
            self.store.fetch(self.storage, shard)

    def prefetch(self, numbers: Sequence[int]) -> None:
        """Fetches missing shards, several at a time, as far as there is room for them."""
        absent = [n for n in numbers if n not in self._open and not self.store.path(self.shards[n]).is_file()]
        absent = absent[: self._limit()]
        if len(absent) > 1:
            with ThreadPoolExecutor(min(PREFETCHING, len(absent))) as pool:
                list(pool.map(lambda n: self.store.fetch(self.storage, self.shards[n]), absent))


class RemoteColumn:
    """As `shards.PiecedColumn`, for a column of `RemotePieces`."""

    def __init__(self, pieces: RemotePieces, name: str) -> None:
        self._pieces, self._name = pieces, name

    def whole(self) -> Tensor:
        return self.range(0, int(self._pieces.bounds[-1]), self._pieces.bounds)

    def take(self, plan: Plan) -> Tensor:
        dtype, shape = self._pieces.layouts[self._name]
        result = torch.empty((len(plan.rows), *shape), dtype=dtype)
        self._pieces.prefetch([number for number, _, _ in plan.groups])
        for number, rows, places in plan.groups:
            result[torch.from_numpy(places)] = self._pieces.views(number)[self._name][torch.from_numpy(rows)]
        return result

    def range(self, start: int, stop: int, bounds: Tensor) -> Tensor:
        dtype, shape = self._pieces.layouts[self._name]
        first = int(torch.searchsorted(bounds, start, right=True)) - 1
        numbers = [n for n in range(first, len(self._pieces.shards)) if int(bounds[n]) < stop]
        self._pieces.prefetch(numbers)
        parts = [torch.empty((0, *shape), dtype=dtype)]
        for n in numbers:
            parts.append(self._pieces.views(n)[self._name][max(start - int(bounds[n]), 0) : stop - int(bounds[n])])
        return torch.cat(parts)


def open_remote(url: str, limit_bytes: int | None = None) -> tuple[Path, TableManifest, RemotePieces]:
    """Opens a remote table: its local folder, its manifest and its shards.

    Args:
        limit_bytes: of the local shards. If None, $LFIW_SHARD_BYTES, or 32 GiB.

    Raises:
        InputError: there is no cache, it cannot be read, or the environment's limit is not a number.
    """
    storage = Storage(url)
    given = str(limit_bytes or os.environ.get(LIMIT_VARIABLE, LIMIT_BYTES))
    if not given.isdigit():
        raise InputError(f"{LIMIT_VARIABLE}={given}: expected a number of bytes")
    try:
        content = storage.read(FILE)
    except FileNotFoundError:
        raise InputError(f"{url}: no cache there (no {FILE}): check the URL, or write it first") from None
    key = hashlib.sha256(storage.url.encode() + b"\0" + content).hexdigest()[:32]
    folder = cache_folder() / "remote" / key
    if not (folder / FILE).is_file():
        write_atomically(folder / FILE, content)
    manifest = read_table_manifest(folder)
    store = ShardStore(cache_folder() / "shards", int(given))
    return folder, manifest, RemotePieces(storage, store, manifest.shards, manifest.columns)


def check_remote_target(url: str, overwrite: bool) -> None:
    """Checks that a cache may be written there.

    Raises:
        InputError: something exists there that may not be replaced.
    """
    check_entries(url, {name.split("/")[0] for name in Storage(url).names()}, overwrite, "URL")


def outgoing_folder(url: str, asked: object) -> Path:
    """Returns where a cache is written before upload: the same folder for the same samples and URL.

    Args:
        asked: all that the samples depend on, as JSON values.
    """
    key = hashlib.sha256(json.dumps([url, asked], sort_keys=True).encode()).hexdigest()[:32]
    return cache_folder() / "outgoing" / key


def upload(folder: Path, url: str) -> None:
    """Moves a cache to a URL: its base columns shard by shard under unused names, the manifest last.

    The manifest there names existing shards at every moment. The shards of an older manifest and the local folder are
    removed at the end.

    Raises:
        InputError: the storage refuses, or failed `TRIES` times.
    """
    storage, manifest = Storage(url), read_table_manifest(folder)
    existing = storage.names()
    numbers = [int(name.split("-")[1].split(".")[0]) for name in existing if TABLE_SHARD.fullmatch(name)]
    placed = []
    for sequence, shard in enumerate(manifest.shards, start=max(numbers, default=-1) + 1):
        placed.append(replace(shard, file=f"data/00000-{sequence:05d}.safetensors"))
        storage.put(folder / shard.file, placed[-1].file)
    text = json.dumps(replace(manifest, shards=tuple(placed)).as_json(), indent=1)
    storage.write(FILE, f"{text}\n".encode())
    for name in existing:
        if name != FILE:
            storage.remove(name)
    shutil.rmtree(folder)
