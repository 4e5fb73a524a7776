"""JSON records: results/<study>.json, written by the command that measured it, and what a finished run left."""

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lfiw.errors import InputError
from lfiw.files import read_json, write_json
from lfiw.version import __version__
from lfiw.weighting.diagnostics import mean_and_error

Row = dict[str, Any]


def row(name: str, metric: str, values: Sequence[float], **more: Any) -> Row:
    """Mean and standard error of repetitions; no error for a single one."""
    mean, error = mean_and_error(values)
    se = error if len(values) > 1 else None
    return {"name": name, "metric": metric, "mean": mean, "se": se, "n": len(values), **more}


def write_study(file: Path, study: str, command: str, seconds: float, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a study's file: what was run, by which version, on what, for how long, and its rows."""
    content = {
        "study": study,
        "command": command,
        "version": __version__,
        "hardware": hardware(),
        "seconds": round(seconds, 1),
        "rows": list(rows),
    }
    write_json(file, content)


def read_record(file: Path, remedy: str) -> dict[str, Any]:
    """Reads the record that a run writes when it finishes.

    Args:
        remedy: what to do if there is none.

    Raises:
        InputError: the run did not finish, or its record cannot be read.
    """
    if not file.is_file():
        raise InputError(f"{file.parent} has no {file.name}: the run did not finish; {remedy}")
    return read_json(file)


def hardware() -> str:
    """Processor, cores and torch version, in words."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{cpu}, {os.cpu_count()} cores{gpu}, torch {torch.__version__.partition('+')[0]}"
