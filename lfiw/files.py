"""Files that appear whole or not at all."""

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lfiw.errors import InputError, first_line


def write_atomically(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Puts a file in place at once: readers see the old content or the new, also after a kill or a power cut.

    Raises:
        InputError: the file system refuses.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode(errors="surrogateescape") if isinstance(content, str) else content)


def write_json(path: str | os.PathLike[str], content: Mapping[str, object]) -> None:
    """As `write_atomically`, a JSON object.

    Raises:
        ValueError: a number is not finite; JSON has no word for it.
    """
    write_atomically(path, as_json(content))


def as_json(content: Mapping[str, object]) -> bytes:
    """The bytes that `write_json` writes."""
    return f"{json.dumps(content, indent=1, allow_nan=False)}\n".encode()


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A JSON object that `write_json` wrote.

    Raises:
        InputError: it cannot be read, or is none.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({first_line(error)})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a JSON object")
    return content


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name in the same folder to write to; on leaving without an error it takes the place of `path`.

    One process at a time writes a file. The name is always the same, so that what a killed process left is overwritten.

    Raises:
        InputError: the file system refuses.
    """
    path = Path(path)
    temporary = temporary_name(path)
    try:
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):  # where nothing could be written there is nothing to remove
            temporary.unlink()


def temporary_name(path: Path) -> Path:
    """Where `replacing` writes: hidden, in the same folder, with the same ending."""
    return path.with_name(f".{path.stem}~{path.suffix}")


REMEDY = "choose a folder that you can write to"
FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def write_errors(path: Path, remedy: str = REMEDY) -> Iterator[None]:
    """Turns what the file system refuses into one line.

    Args:
        remedy: what to do, unless the disk is full.
    """
    try:
        yield
    except OSError as error:
        advice = "free some space" if error.errno in FULL else remedy
        raise InputError(f"{path}: cannot write there ({error.strerror}): {advice}") from error


def check_writable(folder: Path, remedy: str = REMEDY) -> None:
    """Before hours of work whose result goes there.

    Raises:
        InputError: nothing can be written into the folder, or made where it is not yet there.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    with write_errors(folder, remedy):
        if not os.access(there, os.W_OK | os.X_OK):
            read_only = os.statvfs(there).f_flag & os.ST_RDONLY
            number = errno.EROFS if read_only else errno.EACCES
            raise OSError(number, os.strerror(number))


def sync_folder(path: Path) -> None:
    """Waits until the names in a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
