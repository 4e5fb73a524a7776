"""Saves the finished parts of a study, so that a stopped one resumes."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from lfiw.files import write_json
from lfiw.version import __version__

ROOT = Path(__file__).parents[2]


@cache
def version() -> str:
    """Hashes all code but that of the tables: parts made by other code are not reused."""
    digest = hashlib.sha256(__version__.encode())
    for pattern in ("lfiw/**/*.py", "conf/**/*.yaml", "tools/studies/*.py"):
        for file in sorted(ROOT.glob(pattern)):
            digest.update(file.read_bytes())
    return digest.hexdigest()


class Kept:
    """The finished parts of a study, one JSON file each, removed once the study's results are written.

    joblib.Memory would not do: it keys by the source of one function, not of the package, and writes pickles.

    Args:
        folder: where the parts are saved.
        settings: what all parts depend on besides their names, such as overrides; other parts are not reused.

    Attributes:
        seconds: those taken by the parts that earlier calls made.
    """

    def __init__(self, folder: Path, settings: object) -> None:
        self.folder = folder
        self.settings = [version(), settings]
        self.seconds = 0.0

    def get(self, part: str, make: Callable[[], Any], *, settings: object = None) -> Any:
        """Returns the part's value, from disk if an earlier call made it; otherwise makes and saves it.

        Args:
            part: the part's name, such as "seed 3".
            make: returns the value, which JSON can represent.
            settings: what this part depends on, if less than the study's settings. If None, the study's.
        """
        own = self.settings if settings is None else [version(), settings]
        identity = {"settings": own, "part": part}
        name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        file = self.folder / f"{name}.json"
        if file.exists():
            print(f"{part}: reused from a study that was stopped ({file})")
            content = json.loads(file.read_text())
            self.seconds += content["seconds"]
            return content["value"]
        started = time.perf_counter()
        value = make()
        write_json(file, {**identity, "seconds": time.perf_counter() - started, "value": value})
        return value

    def discard(self) -> None:
        """Removes all parts."""
        shutil.rmtree(self.folder, ignore_errors=True)
