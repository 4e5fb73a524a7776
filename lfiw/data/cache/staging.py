"""Hidden folders in which writers collect whole shards, under a lock, until they are published or resumed.

    <stem>~0/lock                   free once a process is killed: the next writer takes the folder over or removes it
    <stem>~0/plan.json              what is being written, if known in advance (`PlannedWriter`)
    <stem>~0/table/data/…           whole shards
    <stem>~0/journal/<shard>.json   per shard, its rows, size and SHA-256

`Writer` is the base of the writers of tables and of later columns.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import TypeVar

from torch import Tensor

from lfiw.data.cache.manifest import Shard
from lfiw.data.cache.shards import RowBuffer, write_shard
from lfiw.errors import InputError
from lfiw.files import read_json, sync_folder, write_errors, write_json

W = TypeVar("W", bound="Writer")  # beartype knows no Self in a class that it does not decorate

LOCK, PLAN, TABLE, JOURNAL = "lock", "plan.json", "table", "journal"
WRITING = ".writing~"  # prefix of an incomplete shard


def take_lock(path: Path, wait: bool) -> int | None:
    """Locks a file until the returned descriptor is closed or the process ends. Not meant for object storage.

    Returns None if another process holds the lock (never with `wait`) or has removed the file.
    """
    with contextlib.suppress(BlockingIOError, FileNotFoundError), contextlib.ExitStack() as stack:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        stack.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):
            stack.pop_all()
            return descriptor
    return None


@dataclass(frozen=True)
class Part:
    """A whole shard with the rows start ≤ row < stop; that of a later column may hold only some of them."""

    start: int
    stop: int
    shard: Shard  # its file is below `Staging.table`


class Staging:
    """A hidden folder `<stem>~<suffix>`, locked if this process has claimed it."""

    def __init__(self, path: Path, lock: int | None = None, journaled: bool = True) -> None:
        self.path, self.table, self._journal = path, path / TABLE, path / JOURNAL
        self._lock, self._journaled = lock, journaled
        self._added: list[Part] = []

    @classmethod
    def claim(cls, stem: Path, shared: bool, journaled: bool) -> "Staging":
        """Takes over the folder that a killed writer left, or creates one.

        Args:
            shared: several processes will write into it, so its name has to be that of `shared_path`.
            journaled: keep a journal, for the other processes and the next writer.

        Raises:
            InputError: it is shared, and another group of processes is writing the same thing.
        """
        path = shared_path(stem)
        while True:
            path.mkdir(parents=True, exist_ok=True)
            lock = take_lock(path / LOCK, wait=False)
            if lock is not None:
                return cls(path, lock, journaled)
            if shared and path.exists():
                raise InputError(f"{path.parent}: another run is writing the same thing there: wait until it has ended")
            if not shared:
                path = stem.with_name(f"{stem.name}~{token_hex(4)}")

    def prepare(self, restart: bool = False) -> None:
        """Creates the folders, and removes what this writer cannot reuse."""
        if restart or not self.parts():  # there are none either if a run was killed just after publishing
            shutil.rmtree(self.table, ignore_errors=True)
            shutil.rmtree(self._journal, ignore_errors=True)
            (self.path / PLAN).unlink(missing_ok=True)
        for path in self.path.glob(f"{WRITING}*"):
            path.unlink()
        (self.table / "data").mkdir(parents=True, exist_ok=True)
        self._journal.mkdir(exist_ok=True)

    def add(self, name: str, rows: tuple[int, int], tensors: Mapping[str, Tensor]) -> Part:
        """Writes a shard, and waits until it is on the disk.

        Args:
            rows: (start, stop) as `Part` has them.
        """
        file, temporary = f"data/{name}.safetensors", self.path / f"{WRITING}{token_hex(8)}"
        try:
            sha256, num_bytes = write_shard(temporary, tensors)
            os.replace(temporary, self.table / file)
        finally:
            temporary.unlink(missing_ok=True)
        part = Part(*rows, Shard(file, len(next(iter(tensors.values()))), sha256, num_bytes))
        if self._journaled:
            write_json(self._journal / f"{name}.json", {"start": part.start, "stop": part.stop, **asdict(part.shard)})
        else:
            self._added.append(part)
        return part

    def parts(self) -> list[Part]:
        """Returns the whole shards, of all processes if there is a journal, sorted by first row.

        Shards whose file is missing or truncated are left out: their rows are written again.
        """
        if not self._journaled:
            return self._added
        complete = []
        for entry in self._journal.glob("*.json"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # missing, or of another version
                fields = read_json(entry)
                part = Part(fields.pop("start"), fields.pop("stop"), Shard(**fields))
                if (self.table / part.shard.file).stat().st_size == part.shard.num_bytes:
                    complete.append(part)
        return sorted(complete, key=lambda part: (part.start, part.shard.file))

    def release(self) -> None:
        """Unlocks the folder, and leaves its content to the next writer."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self.release()


def shared_path(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}~0")


def sweep(folder: Path, prefix: str, keep: Path) -> None:
    """Removes the staging folders of killed writers whose names start with `prefix`, except `keep`."""
    for path in sorted(folder.glob(f"{prefix}*")):
        if path != keep and path.is_dir() and (lock := take_lock(path / LOCK, wait=False)) is not None:
            Staging(path, lock).remove()


@contextlib.contextmanager
def publishing(folder: Path) -> Iterator[None]:
    """Lets one process at a time replace what is published in a folder."""
    while (lock := take_lock(folder / f".{LOCK}", wait=True)) is None:
        if not folder.is_dir():
            raise InputError(f"{folder}: the folder was removed while it was being written: start again")
    try:
        yield
    finally:
        os.close(lock)


def place(staged: Path, shards: Iterable[Shard], target: Path, folder: str = "") -> tuple[Shard, ...]:
    """Moves shards into `target/folder` under new numbers, so that no name ever stands for two contents."""
    (target / folder).mkdir(exist_ok=True)
    numbers = [int(path.stem.split("-")[1]) for path in (target / folder).glob("?????-*.safetensors")]
    placed = []
    for number, shard in enumerate(shards, start=max(numbers, default=-1) + 1):
        placed.append(replace(shard, file=f"{folder}00000-{number:05d}.safetensors"))
        os.rename(staged / shard.file, target / placed[-1].file)
    sync_folder(target / folder)
    return tuple(placed)


def remove_others(folder: Path, shards: Iterable[Shard]) -> None:
    """Removes the files of a folder that are not among these shards."""
    keep = {Path(shard.file).name for shard in shards}
    for path in folder.glob("*.safetensors"):
        if path.name not in keep:
            path.unlink(missing_ok=True)


class Writer:
    """Base of all writers: collects whole shards in a hidden folder and publishes them together.

    Leaving the block publishes. After an exception or a kill the target is unchanged.

    Args:
        target: its name in messages.
        stem: of the hidden folder.
        rank, world_size: of this process, if several write on one file system.
        barrier: waits for all processes, as `trainer.strategy.barrier`; needed if there are several.
        shared: one group of processes at a time may write this; others get an error.
        resumable: after an exception or a kill, whole shards stay for the next writer.

    Raises:
        InputError: the rank is not below the number of processes, there is no barrier, or shards are too small.
    """

    def __init__(
        self,
        target: Path,
        stem: Path,
        *,
        shard_bytes: int,
        rank: int = 0,
        world_size: int = 1,
        barrier: Callable[[], object] | None = None,
        shared: bool = True,
        resumable: bool = True,
    ) -> None:
        if not 0 <= rank < world_size:
            raise InputError(f"rank {rank} of {world_size} processes: expected 0 ≤ rank < world_size")
        if world_size > 1 and barrier is None:
            raise InputError("several processes need a barrier: give barrier=, as in trainer.strategy.barrier")
        if shard_bytes < 1:
            raise InputError(f"shard_bytes is {shard_bytes}, expected at least 1")
        self._target, self._stem, self._shard_bytes = target, stem, shard_bytes
        self._rank, self._world_size = rank, world_size
        self._barrier = barrier or (lambda: None)
        self._shared, self._resumable = shared, resumable
        self._staging = Staging(shared_path(stem))
        self._buffer: RowBuffer | None = None

    def __enter__(self: W) -> W:
        with write_errors(self._target):
            self._check()
            if self._rank == 0:
                journaled = self._resumable or self._world_size > 1
                self._staging = Staging.claim(self._stem, self._shared, journaled)
                try:
                    self._prepare()
                except BaseException:
                    self._staging.release()
                    raise
        self._barrier()
        return self

    def _check(self) -> None:
        """Checks, in all processes, that the target may be written."""

    def _prepare(self) -> None:
        """Prepares the hidden folder, in the first process."""
        sweep(self._stem.parent, f"{self._stem.name}~", keep=self._staging.path)
        self._staging.prepare(restart=not self._resumable)

    def _add(self, name: str, rows: tuple[int, int], tensors: Mapping[str, Tensor]) -> Part:
        with write_errors(self._target):
            return self._staging.add(name, rows, tensors)

    def _flush(self) -> None:
        """Writes the rows that are still in memory."""

    def _publish(self) -> None:
        """Puts what was written into place, in the first process."""
        raise NotImplementedError

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        finished = False
        try:
            if kind is None or self._resumable:
                self._flush()
            if kind is None:
                self._barrier()
                if self._rank == 0:
                    with write_errors(self._target):
                        self._publish()
                finished = True
                self._barrier()
        finally:
            if self._rank == 0:
                self._leave(finished)

    def _leave(self, finished: bool) -> None:
        if finished or not self._resumable or not self._staging.parts():
            self._staging.remove()
        else:
            self._staging.release()
