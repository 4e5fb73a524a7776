"""The one exception for what a user can mend, and what its messages have in common."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something that came in is wrong: a key, a path, a shape, a dtype, a value, a file.

    The message is one line that names the thing, what was expected and what to do. The scripts print it without a
    traceback and exit with code 2; library code raises it where the bad value enters.
    """


class LostScore(InputError):
    """A score that float64 cannot hold for these features: it overflows, or rounding is all that is left of it."""


def first_line(error: BaseException) -> str:
    """What an error of another library says, cut to one line; its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


def nearest(word: str, valid: Iterable[str], before: str = ", ") -> str:
    """The end of a message about an unknown word: the valid one that was probably meant, if any."""
    valid = list(valid)
    # without its group, as well: `lr` is meant as optimizer.lr
    found = difflib.get_close_matches(word, valid, n=1) or [v for v in valid if v.split(".")[-1] == word.split(".")[-1]]
    return f"{before}did you mean {found[0]}?" if found else ""


def printable(name: object) -> str:
    """The name of a file as it can be shown anywhere: bytes that are no UTF-8, and control characters, as \\xNN."""
    return "".join(map(_printable, str(name)))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # how Python keeps a byte that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
