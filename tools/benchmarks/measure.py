"""Timing side by side, and the row that comes of it."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

Side = Callable[[], float]  # does some work → seconds for one unit of it


@dataclass(frozen=True)
class Row:
    """One comparison. `ours` and `theirs` are medians over the rounds in `unit`.

    Args:
        ratio: median over the rounds of peer's time / our time in the same round; above 1, ours is faster.
        goal: for the ratio; none: shown for information.
        limit: what the hardware allows, in words, and `share`, the part of it that we reach.
        note: conditions that a reader of the number needs.
    """

    name: str
    peer: str
    metric: str
    ratio: float
    goal: float | None
    met: bool | None
    mean: float
    se: float
    n: int
    min: float
    max: float
    ours: float
    theirs: float
    unit: str
    limit: dict[str, Any]
    note: str

    def as_json(self) -> dict[str, Any]:
        return {key: round(v, 6) if isinstance(v, float) else v for key, v in asdict(self).items()}


def seconds_each(work: Callable[[], object], units: int = 1) -> Side:
    """A side that does `units` units of work in one call."""

    def side() -> float:
        start = time.perf_counter()
        work()
        return (time.perf_counter() - start) / units

    return side


def interleave(sides: Mapping[str, Side], rounds: int, warm_ups: int = 1) -> dict[str, list[float]]:
    """Runs the sides in turn, A B A B …, so that a slow spell of the machine meets all of them → seconds by round."""
    for _ in range(warm_ups):
        for side in sides.values():
            side()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            seconds[name].append(side())
    return seconds


def fastest(candidates: Mapping[str, Side], tries: int = 2) -> str:
    """Name of the side that was fastest in its best try: the peer is compared at its best."""
    times = interleave(candidates, rounds=tries)
    return min(times, key=lambda name: min(times[name]))


def compare(
    name: str,
    peer: str,
    ours: list[float],
    theirs: list[float],
    *,
    unit: str,
    goal: float | None,
    limit: Mapping[str, Any] | None = None,
    note: str = "",
    also_met: bool = True,
) -> Row:
    """The row of one comparison.

    Args:
        ours, theirs: seconds for one unit of work, by round.
        unit: `s`, `ms/step`, or one that ends in `/s`, which turns the seconds into a rate.
        also_met: whether a further goal, beside that for the ratio, is met.
    """
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    ratio = statistics.median(ratios)
    se = statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else 0.0
    return Row(
        name=name,
        peer=peer,
        metric="speed_ratio",
        ratio=ratio,
        goal=goal,
        met=None if goal is None else ratio >= goal and also_met,
        mean=statistics.mean(ratios),
        se=se,
        n=len(ratios),
        min=min(ratios),
        max=max(ratios),
        ours=in_unit(statistics.median(ours), unit),
        theirs=in_unit(statistics.median(theirs), unit),
        unit=unit,
        limit=dict(limit or {}),
        note=note,
    )


def limit_beside(what: str, ours: list[float], limit: list[float]) -> dict[str, Any]:
    """The limit of a row, where it was timed in the same rounds: its name, our share of its speed, and that speed."""
    share = statistics.median([b / a for a, b in zip(ours, limit, strict=True)])
    return {"what": what, "share": share, "value": 1 / statistics.median(limit)}


def in_unit(seconds: float, unit: str) -> float:
    if unit.endswith("/s"):
        return 1 / seconds
    return seconds * 1000 if unit.startswith("ms") else seconds


def copy_bandwidth(num_bytes: int = 1 << 28) -> float:
    """Bytes read and written a second by a plain copy in memory."""
    source = torch.ones(num_bytes, dtype=torch.uint8)
    target = torch.zeros_like(source)
    copy = seconds_each(lambda: target.copy_(source))
    return 2 * num_bytes / min(copy() for _ in range(5))


def matmul_flops(d: int = 2048) -> float:
    """Floating-point operations a second of a float64 matrix product."""
    a = torch.rand(d, d, dtype=torch.float64)
    out = torch.empty_like(a)
    multiply = seconds_each(lambda: torch.mm(a, a, out=out))
    return 2 * d**3 / min(multiply() for _ in range(5))


def drain(batches: Iterable[object]) -> None:
    """Asks for every batch, and lets it go."""
    for _ in batches:
        pass
