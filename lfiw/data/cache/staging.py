"""Where unfinished work lies: a hidden folder that its writer holds locked, and that is moved into place when whole.

A killed process loses its locks, so the next writer can tell abandoned folders from those in use, and removes them.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

from lfiw.errors import InputError

LOCK = "lock"


class Lock:
    """An exclusive lock on a file, until `release` or the end of the process. Not meant for object storage."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path, wait: bool) -> "Lock | None":
        """The lock, or None if another process has it (never with `wait`) or has removed the file."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return cls(descriptor)
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def release(self) -> None:
        os.close(self._descriptor)


class Staging:
    """A locked hidden folder `parent/<stem>~<suffix>`."""

    def __init__(self, path: Path, lock: Lock) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def claim(cls, parent: Path, stem: str, shared: bool) -> "Staging":
        """Takes over the folder that a killed writer left, or makes one.

        Args:
            shared: several processes will write into it, so its name must be the one that `shared_path` gives.

        Raises:
            InputError: shared, and another group of processes is writing the same thing.
        """
        path = shared_path(parent, stem)
        while True:
            path.mkdir(parents=True, exist_ok=True)
            lock = Lock.take(path / LOCK, wait=False)
            if lock is not None:
                return cls(path, lock)
            if shared and path.exists():
                raise InputError(f"{path.parent}: another run is writing the same thing there: wait until it has ended")
            if not shared:
                path = parent / f"{stem}~{token_hex(4)}"

    def release(self) -> None:
        """Leaves what is there to the next writer."""
        self._lock.release()

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()


def shared_path(parent: Path, stem: str) -> Path:
    return parent / f"{stem}~0"


def sweep(parent: Path, prefix: str, keep: Path) -> None:
    """Removes the staging folders of killed writers whose names start with `prefix`, except `keep`."""
    for path in sorted(parent.glob(f"{prefix}*")):
        if path == keep or not path.is_dir():
            continue
        lock = Lock.take(path / LOCK, wait=False)
        if lock is not None:
            Staging(path, lock).remove()


@contextlib.contextmanager
def publishing(folder: Path) -> Iterator[None]:
    """One process at a time replaces what is published in a folder."""
    lock = None
    while lock is None:
        lock = Lock.take(folder / f".{LOCK}", wait=True)
        if lock is None and not folder.is_dir():
            raise InputError(f"{folder}: the folder was removed while it was being written: start again")
    try:
        yield
    finally:
        lock.release()
