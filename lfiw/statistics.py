"""Intervals of repetitions."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from scipy.stats import t


def paired_interval(differences: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Student's t-interval of the mean of paired differences: mean ± t(n − 1) · s/√n, exact for normal differences.

    Args:
        differences: at least 2.
    """
    n = len(differences)
    half = float(t.ppf((1 + confidence) / 2, n - 1)) * stdev(differences) / math.sqrt(n)
    return fmean(differences) - half, fmean(differences) + half
