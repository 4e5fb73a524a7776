"""The toy experiment, which repeats itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from train import train

from .kept import Kept
from .repeated import Row


def run(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    def make() -> dict[str, Any]:
        _, objects = train(["experiment=toy", f"task.seeds={seeds}", *overrides])
        return {"rows": objects["rows"], "picture": str(objects["picture"])}

    found = kept.get("all seeds", make)
    return found["rows"], [Path(found["picture"])]
