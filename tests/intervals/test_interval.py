"""Ends and kinds of intervals."""

import math

import pytest
from scipy.stats import norm

from lfiw.intervals.interval import interval
from lfiw.intervals.kinds import interval_kind


def test_ends_are_the_normal_quantiles() -> None:
    found = interval(3.0, 0.5, null=0.1, effective_size=1000, dimension=4)
    assert (found.low, found.high) == pytest.approx(norm.interval(0.95, loc=3.0, scale=0.5), rel=1e-6)
    assert found.kind == "nominal"


@pytest.mark.parametrize(
    ("score", "size", "kind"),
    [
        (3.0, 40, "nominal"),
        (2.9, 40, "conservative"),  # below three times what noise makes
        (3.0, 39, "conservative"),  # ESS < 10 D
        (3.0, 8, "conservative"),
        (3.0, 7.9, "none"),  # ESS < 2 D
    ],
)
def test_kinds_change_at_their_limits(score: float, size: float, kind: str) -> None:
    assert interval_kind(score, null=1.0, effective_size=size, dimension=4) == kind
    assert interval(score, 0.1, null=1.0, effective_size=size, dimension=4).kind == kind


def test_no_interval_without_an_error_or_effective_rows() -> None:
    for error, size in ((math.nan, 1000), (0.1, 5)):
        found = interval(3.0, error, null=0.1, effective_size=size, dimension=4)
        assert math.isnan(found.low)
        assert math.isnan(found.high)
        assert found.kind == "none"
