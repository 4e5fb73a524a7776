"""Means, errors and intervals against scipy's."""

import math

import pytest
from scipy.stats import norm, sem, t, ttest_1samp

from lfiw.weighting.diagnostics import half_width, mean_and_error, paired_interval


@pytest.mark.parametrize("values", [[0.1, 0.3], [1.0, 2.0, 2.5, -1.0, 0.7]])
def test_interval_is_that_of_the_t_test(values: list[float]) -> None:
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    assert paired_interval(values) == pytest.approx((expected.low, expected.high))


def test_an_error_is_that_of_scipy_and_unknown_for_a_single_value() -> None:
    values = [1.0, 2.0, 2.5, -1.0, 0.7]
    assert mean_and_error(values) == pytest.approx((1.04, sem(values)))
    assert math.isnan(mean_and_error([3.0])[1])


def test_a_known_variance_has_the_normal_quantile() -> None:
    assert half_width(0.5) == pytest.approx(norm.interval(0.95, scale=0.5)[1], rel=1e-12)


def test_widths_are_those_of_student() -> None:
    assert half_width(0.5, 7.3) == pytest.approx(t.interval(0.95, 7.3, scale=0.5)[1])
    assert half_width(0.5, 1e9) == pytest.approx(norm.interval(0.95, scale=0.5)[1], rel=1e-6)


@pytest.mark.parametrize(("error", "degrees"), [(math.nan, 100.0), (0.1, math.nan)])
def test_no_width_without_an_error(error: float, degrees: float) -> None:
    assert math.isnan(half_width(error, degrees))
