"""Timing two sides in turn, and the row of results."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from lfiw.tasks import results

Row = dict[str, Any]
Side = Callable[[], float]  # does some work → seconds for one unit of it
IMAGE = (3, 32, 32)
FLOPS = 11.4e9  # of one image in Inception: 5.7 billion multiplications and additions


def seconds_each(work: Callable[[], object], units: int = 1) -> Side:
    """Makes a side from a function that does `units` units of work per call."""

    def side() -> float:
        start = time.perf_counter()
        work()
        return (time.perf_counter() - start) / units

    return side


def interleave(sides: Mapping[str, Side], rounds: int, warm_ups: int = 1) -> dict[str, list[float]]:
    """Runs the sides in turn, A B A B …, so that a slow spell of the machine hits them all → seconds by round."""
    for _ in range(warm_ups):
        for side in sides.values():
            side()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            seconds[name].append(side())
    return seconds


def fastest(candidates: Mapping[str, Side], tries: int = 2) -> str:
    """Returns the name of the side with the fastest single try: a peer is compared at its best."""
    times = interleave(candidates, rounds=tries)
    return min(times, key=lambda name: min(times[name]))


def race(name: str, peer: str, ours: Side, theirs: Side, rounds: int, *, warm_ups: int = 1, **terms: Any) -> Row:
    """Times two sides in turn and returns their row; `terms` are those of `compare`."""
    seconds = interleave({"ours": ours, "peer": theirs}, rounds, warm_ups)
    return compare(name, peer, seconds["ours"], seconds["peer"], **terms)


def compare(
    name: str,
    peer: str,
    ours: list[float],
    theirs: list[float],
    *,
    unit: str,
    goal: float | None,
    limit: tuple[str, float | list[float]] | None = None,
    at_most: float = float("inf"),
    note: str = "",
) -> Row:
    """Returns the row of one comparison.

    Args:
        ours, theirs: seconds for one unit of work, by round.
        unit: `s`, `ms/step`, or one that ends in `/s`, which turns the seconds into a rate.
        goal: least ratio. If None, the row is for information only.
        limit: the bound that the hardware sets, in words, and the seconds per unit at that bound, by round if timed so.
        at_most: seconds that our median may take, in addition to the goal for the ratio.
        note: conditions of the measurement.

    Returns:
        `ratio`: median over the rounds of peer's time / our time in the same round; above 1, ours is faster. `ours`
        and `theirs` are medians in `unit`; `limit` has the share of the limit's speed that we reach.
    """
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    ratio = statistics.median(ratios)
    return {
        **results.row(name, "speed_ratio", ratios),
        "peer": peer,
        "ratio": ratio,
        "goal": goal,
        "met": None if goal is None else ratio >= goal and statistics.median(ours) <= at_most,
        "min": min(ratios),
        "max": max(ratios),
        "ours": in_unit(statistics.median(ours), unit),
        "theirs": in_unit(statistics.median(theirs), unit),
        "unit": unit,
        "limit": beside_limit(*limit, ours) if limit else {},
        "note": note,
    }


def beside_limit(what: str, at_limit: float | list[float], ours: list[float]) -> dict[str, Any]:
    """Returns our share of the limit's speed, and that speed too if the limit was timed in the same rounds."""
    if isinstance(at_limit, float):
        return {"what": what, "share": at_limit / statistics.median(ours)}
    share = statistics.median([b / a for a, b in zip(ours, at_limit, strict=True)])
    return {"what": what, "share": share, "value": 1 / statistics.median(at_limit)}


def in_unit(seconds: float, unit: str) -> float:
    if unit.endswith("/s"):
        return 1 / seconds
    return seconds * 1000 if unit.startswith("ms") else seconds


def copy_bandwidth(num_bytes: int = 1 << 28) -> float:
    """Measures the bytes per second that a plain copy in memory reads and writes."""
    source = torch.ones(num_bytes, dtype=torch.uint8)
    target = torch.zeros_like(source)
    copy = seconds_each(lambda: target.copy_(source))
    return 2 * num_bytes / min(copy() for _ in range(5))


def matmul_flops(d: int = 2048) -> float:
    """Measures the floating-point operations per second of a float64 matrix product."""
    a = torch.rand(d, d, dtype=torch.float64)
    out = torch.empty_like(a)
    multiply = seconds_each(lambda: torch.mm(a, a, out=out))
    return 2 * d**3 / min(multiply() for _ in range(5))


def images(n: int, shape: tuple[int, ...] = IMAGE, top: int = 256, generator: torch.Generator | None = None) -> Tensor:
    """Draws uint8 noise below `top`; the same in every call unless a generator is given."""
    drawn_by = generator or torch.Generator().manual_seed(0)
    return torch.randint(top, (n, *shape), dtype=torch.uint8, generator=drawn_by)


def drain(batches: Iterable[object]) -> None:
    """Consumes all batches."""
    for _ in batches:
        pass
