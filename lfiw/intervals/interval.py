"""From standard errors to 95 % intervals."""

from scipy.stats import t


def half_width(standard_error: float, degrees_of_freedom: float) -> float:
    """What a 95 % interval reaches to either side: the standard error times Student's t quantile at 0.975.

    nan where there is no error, or no variance to know it from.
    """
    return standard_error * float(t.ppf(0.975, degrees_of_freedom))
