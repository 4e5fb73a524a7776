"""The verdict in words."""

import copy
import math

import pytest
from test_tables import RECORD, read, weighting

from lfiw.evaluation.record import Metric
from lfiw.evaluation.verdict import DOUBTED, change_rows, reading, verdict_of
from lfiw.weighting.gate import CANNOT, CORRECTS, NOTHING


@pytest.mark.parametrize(
    ("verdict", "tone", "word"),
    [(CORRECTS, "good", "corrects"), (NOTHING, "neutral", "nothing"), (CANNOT, "bad", "cannot")],
)
def test_the_verdict(verdict: str, tone: str, word: str) -> None:
    auto = {**RECORD["weightings"][2], "name": "auto"}
    record = {**RECORD, "weightings": [RECORD["weightings"][0], auto], "recommended": "auto"}
    found = verdict_of(read({**record, "verdict": verdict}))
    assert (found.tone, found.reason) == (tone, "because")
    assert word in found.headline
    assert verdict_of(read({**RECORD, "verdict": verdict})).headline == "Weighting “half”, as asked for."


def test_scored_rows_can_leave_doubts() -> None:
    record = copy.deepcopy(RECORD)
    record["verdict"] = CORRECTS
    record["weightings"].append({**weighting("auto", 12.0, [0.7, 0.3]), "pareto_k": 0.9})
    record["recommended"] = "auto"
    record["weightings"][-1]["metrics"]["kid@classifier"]["difference"] = {"value": 0.2, "se": 0.1, "half_width": 0.22}
    found = verdict_of(read(record))
    assert (found.tone, found.headline) == ("mixed", DOUBTED)
    heavy, worse = found.doubts
    assert "k̂ is 0.9, not below 0.70" in heavy
    assert "123 effective samples of 20,000" in heavy
    assert worse == "Worse than as generated: FID ↓."
    record["weightings"][-1]["pareto_k"] = None
    record["weightings"][-1]["metrics"]["fid"]["difference"] = {"value": -2.0, "se": None}
    assert verdict_of(read(record)).tone == "good"
    for w in record["weightings"]:
        w["metrics"]["is"] = {"value": 3.0, "se": None, "difference": {"value": -1.0, "se": None}}
    assert verdict_of(read(record)).doubts == ("Worse than as generated: IS ↑.",)


def test_changes_by_the_recommended_weighting() -> None:
    titles, rows = change_rows(read(RECORD))
    assert titles == ["score", "reads", "change", "as generated", "weighted"]
    assert rows[0] == ["FID ↓", "better", "-6 [-6.25, -5.75]", "10 ± 0.25", "4 ± 0.25"]
    assert rows[-1] == ["class distance ↓", "lower", "-0.2", "0.4", "0.2"]
    assert [row[0] for row in rows] == ["FID ↓", "KID ↓ @classifier", "class distance ↓"]


def test_uniform_weights_change_nothing_but_others_are_drawn() -> None:
    record = copy.deepcopy(RECORD)
    record["weightings"].append({**weighting("auto", 10.0, [0.9, 0.1]), "flatten": 0.0})
    record["recommended"] = "auto"
    assert change_rows(read(record))[1] == []
    assert read(record).drawn.name == "self-normalised"
    assert read(RECORD).drawn.name == "half"
    alone = {**RECORD, "weightings": RECORD["weightings"][:1], "recommended": "uniform"}
    assert read(alone).drawn.name == "uniform"


@pytest.mark.parametrize(
    ("change", "half_width", "metric", "word"),
    [
        (-1.0, 0.5, "fid", "better"), (-1.0, 0.5, "is", "worse"),
        (1.0, 0.5, "fid", "worse"), (1.0, 0.5, "is", "better"),
        (-0.49, 0.5, "fid", "unclear"), (-0.5, 0.5, "fid", "unclear"), (-0.51, 0.5, "fid", "better"),
        (0.0, None, "fid", "unclear"), (0.0, 0.0, "fid", "unclear"), (1.0, None, "fid", "higher"),
        (1.0, math.nan, "fid", "higher"), (math.nan, 0.5, "fid", "unclear"),
        (-1.0, 0.5, "kid_paper@resnet56", "better"), (1.0, 0.5, "coverage@a", "better"), (1.0, 0.5, "new ↓", "higher"),
    ],
)  # fmt: skip
def test_reading(change: float, half_width: float | None, metric: str, word: str) -> None:
    assert reading(Metric.named(metric), change, half_width) == word
