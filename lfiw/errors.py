"""The one exception for what a user can mend."""


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
