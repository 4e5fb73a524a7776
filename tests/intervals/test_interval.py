"""Widths and kinds of intervals."""

import math

import pytest
from scipy.stats import norm, t

from lfiw.intervals.interval import half_width
from lfiw.intervals.kinds import interval_kind


def test_widths_are_those_of_student() -> None:
    assert half_width(0.5, 7.3) == pytest.approx(t.interval(0.95, 7.3, scale=0.5)[1])
    assert half_width(0.5, 1e9) == pytest.approx(norm.interval(0.95, scale=0.5)[1], rel=1e-6)


@pytest.mark.parametrize(("error", "degrees"), [(math.nan, 100.0), (0.1, math.nan)])
def test_no_width_without_an_error(error: float, degrees: float) -> None:
    assert math.isnan(half_width(error, degrees))


@pytest.mark.parametrize(
    ("score", "size", "degrees", "kind"),
    [
        (3.0, 40, 30, "nominal"),
        (2.9, 40, 30, "conservative"),  # below three times what noise makes
        (3.0, 39, 30, "conservative"),  # ESS < 10 D
        (3.0, 8, 30, "conservative"),
        (3.0, 7.9, 30, "none"),  # ESS < 2 D
        (3.0, 40, 29.9, "few rows"),
        (2.9, 40, 29.9, "few rows"),
        (3.0, 40, math.nan, "none"),
    ],
)
def test_kinds_change_at_their_limits(score: float, size: float, degrees: float, kind: str) -> None:
    assert interval_kind(score, 1.0, size, dimension=4, degrees_of_freedom=degrees) == kind
