"""Intervals of repetitions against scipy's."""

import pytest
from scipy.stats import ttest_1samp

from lfiw.statistics import paired_interval


@pytest.mark.parametrize("values", [[0.1, 0.3], [1.0, 2.0, 2.5, -1.0, 0.7]])
def test_interval_is_that_of_the_t_test(values: list[float]) -> None:
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    assert paired_interval(values) == pytest.approx((expected.low, expected.high))
