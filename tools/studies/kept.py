"""What an unfinished study has found so far, so that a stopped one resumes."""

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
    """Of the code, without that of the tables: parts that other code made are not used."""
    digest = hashlib.sha256(__version__.encode())
    for pattern in ("lfiw/**/*.py", "conf/**/*.yaml", "tools/studies/*.py"):
        for file in sorted(ROOT.glob(pattern)):
            digest.update(file.read_bytes())
    return digest.hexdigest()


class Kept:
    """Parts of a study that are done, a JSON file each; gone once the study's results are written.

    Not joblib.Memory: that keys by the source of one function, not of the package, and keeps pickles.

    Args:
        folder: of this study's parts.
        settings: what all parts depend on beside their name, such as overrides; parts made under others are not used.

    Attributes:
        seconds: that the parts took which an earlier call made.
    """

    def __init__(self, folder: Path, settings: object) -> None:
        self.folder = folder
        self.settings = [version(), settings]
        self.seconds = 0.0

    def get(self, part: str, make: Callable[[], Any], *, settings: object = None) -> Any:
        """The part's value, from disk if an earlier call got that far, else made and kept.

        Args:
            part: its name, such as "seed 3".
            make: returns what JSON can hold.
            settings: what this part depends on, where that is less than what all do. If None, those.
        """
        own = self.settings if settings is None else [version(), settings]
        identity = {"settings": own, "part": part}
        name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        file = self.folder / f"{name}.json"
        if file.exists():
            print(f"{part}: kept from a study that was stopped ({file})")
            content = json.loads(file.read_text())
            self.seconds += content["seconds"]
            return content["value"]
        started = time.perf_counter()
        value = make()
        write_json(file, {**identity, "seconds": time.perf_counter() - started, "value": value})
        return value

    def discard(self) -> None:
        """Forgets every part."""
        shutil.rmtree(self.folder, ignore_errors=True)
