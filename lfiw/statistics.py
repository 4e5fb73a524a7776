"""Means of repetitions, and 95 % intervals."""

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev

from scipy.stats import t


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error s/√n; no error (nan) of a single value."""
    return fmean(values), stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def half_width(standard_error: float, degrees_of_freedom: float = math.inf) -> float:
    """What a 95 % interval reaches to either side: the standard error times Student's t quantile at 0.975.

    nan where there is no error, or no variance to know it from.

    Args:
        degrees_of_freedom: of the variance; infinite: it is known, and the quantile is the normal one.
    """
    if degrees_of_freedom == math.inf:
        return standard_error * NormalDist().inv_cdf(0.975)
    return standard_error * float(t.ppf(0.975, degrees_of_freedom))


def paired_interval(differences: Sequence[float]) -> tuple[float, float]:
    """Student's t-interval of the mean of paired differences: mean ± t(n − 1) · s/√n, exact for normal differences.

    Args:
        differences: at least 2.
    """
    mean, error = mean_and_error(differences)
    half = half_width(error, len(differences) - 1)
    return mean - half, mean + half
