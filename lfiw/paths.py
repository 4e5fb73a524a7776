"""The one reading of a path that a user types: in configuration keys, in the arguments of tools, and in `run=`."""

import argparse
import os
from pathlib import Path

from lfiw.errors import InputError

LONGEST_NAME, LONGEST_PATH = 255, 4095  # bytes, on Linux


def user_path(text: str | os.PathLike[str]) -> Path:
    """The path that a user means: `~` and `~user` are home folders, `./` and a slash at the end say nothing.

    A relative path stays relative to the working folder. The result reads as itself: no library below finds a `~` at
    its beginning to expand. Bytes that are not UTF-8 stay as they are (surrogateescape).

    Raises:
        InputError: no such user, an empty text, or what no file system can name.
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
    """As `user_path`, of a folder or file; a URL (`s3://…`) is left as it is."""
    return text if "://" in text else str(user_path(text))


def path_argument(text: str) -> Path:
    """`user_path` for argparse, which shows the message of no other exception."""
    try:
        return user_path(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def location_argument(text: str) -> str:
    """`user_location` for argparse."""
    return text if "://" in text else str(path_argument(text))


def user_run(text: str) -> Path:
    """A run folder that a user names; `.` and `..` get the name that the folder has, for it names the run's columns."""
    path = user_path(text)
    return path.resolve() if path.name in ("", "..") else path
