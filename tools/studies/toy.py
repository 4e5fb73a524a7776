"""The toy experiment, which repeats itself."""

from collections.abc import Sequence
from pathlib import Path

from train import train

from .repeated import Row


def run(seeds: int, overrides: Sequence[str]) -> tuple[list[Row], list[Path]]:
    _, objects = train(["experiment=toy", f"task.seeds={seeds}", *overrides])
    return objects["rows"], [objects["picture"]]
