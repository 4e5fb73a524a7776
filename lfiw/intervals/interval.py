"""A score's 95 % interval, and how far it is one."""

import math
from dataclasses import dataclass

from lfiw.intervals.kinds import NONE, interval_kind

QUANTILE = 1.959964  # of the standard normal distribution at 0.975


@dataclass(frozen=True)
class Interval:
    """Ends of a 95 % interval, nan where there is none, and its kind as `kinds.interval_kind` names it."""

    low: float
    high: float
    kind: str


def interval(score: float, standard_error: float, *, null: float, effective_size: float, dimension: int) -> Interval:
    """score ± 1.96 standard errors.

    Args:
        standard_error: nan gives no interval.
        null, effective_size, dimension: as for `interval_kind`.
    """
    kind = interval_kind(score, null, effective_size, dimension)
    if kind == NONE or not math.isfinite(standard_error):
        return Interval(math.nan, math.nan, NONE)
    return Interval(score - QUANTILE * standard_error, score + QUANTILE * standard_error, kind)
