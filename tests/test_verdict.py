"""The verdict in words."""

import copy

import pytest
from test_tables import RECORD, weighting

from lfiw.selection import CANNOT, CORRECTS, NOTHING
from lfiw.verdict import change_rows, drawn_weighting, reading, verdict_of


@pytest.mark.parametrize(
    ("verdict", "tone", "word"),
    [(CORRECTS, "good", "corrects"), (NOTHING, "neutral", "nothing"), (CANNOT, "bad", "cannot")],
)
def test_the_verdict(verdict: str, tone: str, word: str) -> None:
    found = verdict_of({**RECORD, "recommended": "auto", "verdict": verdict})
    assert (found.tone, found.reason) == (tone, "because")
    assert word in found.headline
    assert verdict_of({**RECORD, "verdict": verdict}).headline == "Weighting “half”, as asked for."


def test_changes_by_the_recommended_weighting() -> None:
    titles, rows = change_rows(RECORD)
    assert titles == ["score", "reads", "change", "as generated", "weighted"]
    assert rows[0] == ["FID ↓", "better", "-6 [-6.25, -5.75]", "10 ± 0.25", "4 ± 0.25"]
    assert rows[-1] == ["class distance ↓", "lower", "-0.2", "0.4", "0.2"]
    assert [row[0] for row in rows] == ["FID ↓", "KID ↓ @classifier", "class distance ↓"]


def test_uniform_weights_change_nothing_but_others_are_drawn() -> None:
    record = copy.deepcopy(RECORD)
    record["weightings"].append({**weighting("auto", 10.0, [0.9, 0.1]), "flatten": 0.0})
    record["recommended"] = "auto"
    assert change_rows(record)[1] == []
    assert drawn_weighting(record)["name"] == "self-normalised"
    assert drawn_weighting(RECORD)["name"] == "half"
    alone = {**RECORD, "weightings": RECORD["weightings"][:1], "recommended": "uniform"}
    assert drawn_weighting(alone)["name"] == "uniform"


@pytest.mark.parametrize(
    ("change", "error", "lower_is_better", "word"),
    [
        (-1.0, 0.5, True, "better"), (-1.0, 0.5, False, "worse"),
        (1.0, 0.5, True, "worse"), (1.0, 0.5, False, "better"),
        (-0.97, 0.5, True, "unclear"), (-0.98, 0.5, True, "unclear"), (-0.99, 0.5, True, "better"),
        (0.0, None, True, "unclear"), (0.0, 0.0, True, "unclear"), (1.0, None, True, "higher"),
    ],
)  # fmt: skip
def test_reading(change: float, error: float | None, lower_is_better: bool, word: str) -> None:
    assert reading(change, error, lower_is_better=lower_is_better) == word
