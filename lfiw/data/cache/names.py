"""Which column names are allowed: a name becomes a folder, so it must stay inside the cache."""

import re

from lfiw.errors import InputError

SEGMENT = re.compile(r"[A-Za-z0-9_@=+-][A-Za-z0-9_.@=+-]*")
MAX_LENGTH = 200


def check_column_name(name: str) -> str:
    """Returns the name, as in `image` or `features/pixels`.

    A part does not start with a dot (hidden folders are unfinished work) and does not end like the cache's own files.

    Raises:
        InputError: the name is not one or more segments of letters, digits and `_ - . @ = +` joined by single slashes.
    """
    segments = name.split("/")
    allowed = all(SEGMENT.fullmatch(part) and not part.endswith((".json", ".safetensors")) for part in segments)
    if not allowed or len(name) > MAX_LENGTH or name == "__metadata__":
        raise InputError(
            f"{name[:MAX_LENGTH]!r} cannot name a column: use letters, digits and _ - . @ = +, parts joined by single "
            f"slashes, no part starting with a dot or ending in .json or .safetensors, at most {MAX_LENGTH} characters"
        )
    return name
