"""The losses beside one another where the ratio is known: the toy data, 1,000 samples a side."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lfiw.losses import LOSSES
from lfiw.results import row

from .kept import Kept
from .repeated import Row, one_run


def run(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """For each loss: the log-ratio's error on fresh samples, and bias and spread of corrected means over seeds."""
    rows: list[Row] = []
    for loss in LOSSES:
        options = ["experiment=toy", f"loss={loss}", "task.num_samples=[1000]", f"task.seeds={seeds}", *overrides]
        for found in kept.get(loss, partial(rows_under, options)):
            if "uniform" not in found["name"] and "exact" not in found["name"]:
                name = f"{loss}, {found['name'].split()[0]}"
                rows.append({**found, "name": name})
                if found["metric"].startswith("bias_") and found["se"] is not None:
                    spread = found["se"] * found["n"] ** 0.5
                    rows.append(row(name, found["metric"].replace("bias", "sd"), [spread]))
    return rows, []


def rows_under(options: Sequence[str]) -> list[Row]:
    """The toy experiment's rows."""
    rows: list[Row] = one_run(options)["rows"]
    return rows
