"""Kinds of run: each has `run`, which trains and scores, and `evaluate`, which scores again."""

from importlib import import_module
from types import ModuleType

HOMES = {
    "dagan": "augmentation.drawing_gan",
    "source_ratio": "augmentation.source_ratio_run",
}  # task.name → module, unless it has that name


def find_task(name: str) -> ModuleType:
    """Imports the module of a kind of run."""
    return import_module(f"lfiw.tasks.{HOMES.get(name, name)}")
