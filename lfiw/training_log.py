"""The losses that a run has logged, from its metrics.jsonl."""

import json
import re
from collections import defaultdict
from pathlib import Path

Curve = tuple[list[float], list[float]]  # epochs, log-losses
VALIDATION, TRAINING = "val/log_loss", "train/loss"


def logged_losses(file: Path, metric: str) -> dict[str, Curve]:
    """Name of each classifier of the run → its curve; the name is empty where there is one classifier.

    Of an epoch that was logged twice, as by a resumed run, the later value counts. A line that a killed run left half
    written, and a value that was not a number, are left out.

    Args:
        file: metrics.jsonl; there need not be one.
        metric: `VALIDATION` or `TRAINING`.
    """
    found: dict[str, dict[float, float]] = defaultdict(dict)
    pattern = re.compile(rf"(?:(.+)/)?{re.escape(metric)}")
    for line in file.read_text().splitlines() if file.is_file() else ():
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            continue
        for key, value in values.items():
            match = pattern.fullmatch(key)
            epoch = epoch_of(values, match[1] or "") if match else None
            if match and epoch is not None and value is not None:
                found[match[1] or ""][epoch] = value
    return {name: (sorted(points), [points[epoch] for epoch in sorted(points)]) for name, points in found.items()}


def epoch_of(values: dict[str, float | None], name: str) -> float | None:
    """The epoch of a line, counted from 1; a member of an ensemble logs its own."""
    epoch = values.get(f"{name}/epoch" if name else "epoch")
    return None if epoch is None else epoch + 1
