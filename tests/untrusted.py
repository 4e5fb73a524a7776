"""Files that were made to do harm, and a place with little memory to open them in."""

import subprocess
import sys
from pathlib import Path
from typing import Any

SPARE = 512 << 20  # bytes that opening a file may take
ROOT = Path(__file__).parents[1]

# what is imported stands before the limit; what is left is the file's own
CHILD = """
import resource, sys
{imports}
from lfiw.errors import InputError
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {spare}, resource.getrlimit(resource.RLIMIT_AS)[1]))
for argument in sys.argv[1:]:
    try:
        {statement}
        print("opened")
    except InputError as error:
        print(error)
"""


class Marker:
    """A pickle that leaves a file behind when it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.file), "w"))


def opened_in_little_memory(imports: str, statement: str, *arguments: object) -> list[str]:
    """What a process with 512 MiB to spare says of each argument: one line, its InputError, or "opened".

    Args:
        imports, statement: Python; the statement opens `argument`.
    """
    program = CHILD.format(imports=imports, statement=statement, spare=SPARE)
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, timeout=600
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(arguments), done.stdout
    return lines
