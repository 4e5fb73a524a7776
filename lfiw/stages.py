"""How long the stages of a run took, kept in its folder."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

from pytorch_lightning.utilities import rank_zero_only

from lfiw.files import write_json

FILE = "seconds.json"


@contextlib.contextmanager
def timed(run_dir: Path, stage: str, *, resumed: bool = False) -> Iterator[None]:
    """Measures a stage that ends without an error; the first process keeps the seconds in seconds.json.

    Args:
        resumed: the stage goes on with what an earlier process began: the seconds are added.
    """
    started = time.perf_counter()
    yield
    seconds = time.perf_counter() - started
    if getattr(rank_zero_only, "rank", 0) == 0:
        kept = seconds_of(run_dir)
        total = seconds + (kept.get(stage, 0.0) if resumed else 0.0)
        write_json(run_dir / FILE, {**kept, stage: round(total, 2)})


def seconds_of(run_dir: Path) -> dict[str, float]:
    """Stage → seconds, in the order in which they were first run; none of a run that was not measured."""
    try:
        kept = json.loads((run_dir / FILE).read_text())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
