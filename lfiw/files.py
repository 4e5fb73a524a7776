"""Files that are whole or absent, YAML as plain data, and paths as users type them."""

import argparse
import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml

from lfiw.errors import InputError, first_line

LONGEST_NAME, LONGEST_PATH = 255, 4095  # bytes, on Linux


def user_path(text: str | os.PathLike[str]) -> Path:
    """Returns the path that a user means: `~` and `~user` are home folders; `./` and a final slash are dropped.

    A relative path stays relative to the working folder. The result never starts with a `~` that a library could expand
    again. Bytes that are not UTF-8 stay as they are (surrogateescape).

    Raises:
        InputError: there is no such user, the text is empty, or no file system allows the name.
    """
    text = os.fspath(text)
    expanded = os.path.expanduser(text)
    if expanded.startswith("~") and expanded == text:
        user = text.partition("/")[0]
        raise InputError(f"{text}: there is no user {user[1:]!r}; a folder of that name is ./{text}")
    path = Path(expanded)
    try:
        sizes = [len(os.fsencode(part)) for part in path.parts]
    except UnicodeEncodeError:
        sizes = []
    if not text or "\0" in text or (path.parts and not sizes):
        raise InputError(f"{text!r}: expected the name of a file or folder")
    if max(sizes, default=0) > LONGEST_NAME or sum(sizes) + len(sizes) > LONGEST_PATH:
        raise InputError(f"{text[:60]}…: too long for the name of a file or folder")
    return path.absolute() if str(path).startswith("~") else path


def user_location(text: str) -> str:
    """As `user_path`; a URL (`s3://…`) stays as it is."""
    return text if "://" in text else str(user_path(text))


def path_argument(text: str) -> Path:
    """`user_path` for argparse, which shows only the messages of its own exception."""
    try:
        return user_path(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def location_argument(text: str) -> str:
    """`user_location` for argparse."""
    return text if "://" in text else str(path_argument(text))


def user_run(text: str) -> Path:
    """Returns a run folder that a user names; `.` and `..` become the folder's real name, which names its columns."""
    path = user_path(text)
    return path.resolve() if path.name in ("", "..") else path


class Plain(str):
    """A scalar written without quotes: text, unless its key has another type."""


class PlainLoader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases and without guessing the types of unquoted scalars."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]

    def construct_yaml_str(self, node: yaml.ScalarNode) -> str:
        text = str(self.construct_scalar(node))
        return Plain(text) if node.style is None else text

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(
                None, None, "aliases (*name) are not supported, write the value out", mark
            )
        return super().compose_node(parent, index)


PlainLoader.add_constructor("tag:yaml.org,2002:str", PlainLoader.construct_yaml_str)


def parse_yaml(text: str) -> Any:
    """Parses YAML into lists, dictionaries and texts; unquoted texts are `Plain`.

    Raises:
        yaml.YAMLError, ValueError, RecursionError: the text is not YAML, or holds more than plain values.
    """
    return yaml.load(text, PlainLoader)


def yaml_problem(error: BaseException) -> str:
    """Says what is wrong, and in which line; PyYAML's own text starts with what it was doing."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
        return f"{error.problem}, line {error.problem_mark.line + 1}"
    return first_line(error)


def read_yaml(file: Path) -> dict[str, Any]:
    """Reads a file of keys and values, as `parse_yaml` returns them; empty if the file is.

    Raises:
        FileNotFoundError: the file does not exist.
        InputError: it cannot be read, or holds something other than plain keys and values.
    """
    try:
        content = parse_yaml(file.read_text())
    except FileNotFoundError:
        raise
    # ValueError: it is not text
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"cannot read {file}: {yaml_problem(error)}") from None
    if not isinstance(content, dict | None):
        raise InputError(f"{file}: expected keys and values, found {type(content).__name__}")
    return {str(name): value for name, value in (content or {}).items()}


def write_atomically(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Replaces a file in one step: readers see the old or the new content, even after a kill or a power cut.

    Raises:
        InputError: the file system refuses.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode(errors="surrogateescape") if isinstance(content, str) else content)


def write_json(path: str | os.PathLike[str], content: Mapping[str, object]) -> None:
    """Writes a JSON object as `write_atomically`.

    Raises:
        ValueError: a number is not finite, which JSON cannot express.
    """
    write_atomically(path, as_json(content))


def as_json(content: Mapping[str, object]) -> bytes:
    """Returns the bytes that `write_json` writes."""
    return f"{json.dumps(content, indent=1, allow_nan=False)}\n".encode()


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a JSON object that `write_json` wrote.

    Raises:
        InputError: it cannot be read, or is not a JSON object.
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
    """Yields a temporary path in the same folder, which replaces `path` on leaving without an error.

    Only one process at a time may write a file. The name is always the same, so that a killed process's leftover is
    overwritten.

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
        with contextlib.suppress(OSError):  # if nothing could be written, there is nothing to remove
            temporary.unlink()


def temporary_name(path: Path) -> Path:
    """Returns where `replacing` writes: a hidden file in the same folder, with the same suffix."""
    return path.with_name(f".{path.stem}~{path.suffix}")


REMEDY = "choose a folder that you can write to"
FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def write_errors(path: Path, remedy: str = REMEDY) -> Iterator[None]:
    """Turns errors of the file system into one line.

    Args:
        remedy: what to do, unless the disk is full.
    """
    try:
        yield
    except OSError as error:
        advice = "free some space" if error.errno in FULL else remedy
        raise InputError(f"{path}: cannot write there ({error.strerror}): {advice}") from error


def check_writable(folder: Path, remedy: str = REMEDY) -> None:
    """Checks, before hours of work, that a folder takes its result.

    Raises:
        InputError: the folder cannot be written to, or cannot be created.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    with write_errors(folder, remedy):
        if not os.access(there, os.W_OK | os.X_OK):
            read_only = os.statvfs(there).f_flag & os.ST_RDONLY
            number = errno.EROFS if read_only else errno.EACCES
            raise OSError(number, os.strerror(number))


def sync_folder(path: Path) -> None:
    """Waits until a folder's entries are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
