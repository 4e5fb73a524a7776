"""The verdict in words."""

import copy
import math
from dataclasses import replace

import pytest
from records import RECORD, read, weighting

from lfiw.evaluation.record import MIXED, UNCHANGED, WORSENS, EvaluationRecord, Metric
from lfiw.evaluation.tables import verdict_line
from lfiw.evaluation.verdict import DOUBTED, HEADLINES, IN_PART, change_rows, reading, verdict_of, with_verdict
from lfiw.weighting.gate import CANNOT, CORRECTS, NOTHING


def auto(weighting_of_auto: dict, **content: object) -> EvaluationRecord:
    """A record whose gate recommends that weighting."""
    chosen = {**copy.deepcopy(weighting_of_auto), "name": "auto"}
    record = {**RECORD, "weightings": [RECORD["weightings"][0], chosen], "recommended": "auto", **content}
    return read(record)


def changed(**changes: tuple[float, float | None]) -> dict:
    """Weights that change scores by so much ± half an interval; in the names __ stands for @."""
    found = weighting("auto", 4.0, [0.7, 0.3])
    for name, (change, half_width) in changes.items():
        found["metrics"][name.replace("__", "@")]["difference"] = {"value": change, "se": 1.0, "half_width": half_width}
    return found


@pytest.mark.parametrize(("verdict", "tone"), [(NOTHING, "neutral"), (CANNOT, "bad")])
def test_where_the_gate_refuses_its_word_stands_whatever_rounding_says(verdict: str, tone: str) -> None:
    uniform = {**changed(fid=(1e-12, None), kid__classifier=(1e-12, 0.0)), "flatten": 0.0, "pareto_k": 0.9}
    found = verdict_of(auto(uniform, verdict=verdict))
    assert (found.word, found.tone, found.reason, found.doubts) == (verdict, tone, "because", ())
    assert found.summary == "The samples are left as they were generated."
    assert verdict_of(auto(uniform, verdict=verdict, weightings=[{**uniform, "name": "auto"}])).word == verdict


@pytest.mark.parametrize(
    ("fid", "kid", "word", "tone", "summary"),
    [
        ((-2, 1), (-2, 1), CORRECTS, "good", "Weighting improves FID and KID @classifier."),
        (
            (-2, 1), (-0.5, 1), CORRECTS, "good",
            "Weighting improves FID, and does not change KID @classifier beyond its error.",
        ),
        (
            (2, 1), (-2, 1), MIXED, "mixed",
            "Weighting improves KID @classifier, and makes FID worse.",
        ),
        ((2, 1), (2, 1), WORSENS, "bad", "Weighting makes FID and KID @classifier worse."),
        (
            (0.5, 1), (0.5, 1), UNCHANGED, "neutral",
            "Weighting does not change FID and KID @classifier beyond its error.",
        ),
        (
            (2, 1), (0.5, 1), WORSENS, "bad",
            "Weighting does not change KID @classifier beyond its error, and makes FID worse.",
        ),
        ((-2, None), (-2, None), CORRECTS, "good", "No score has an interval, so that none can be said to change."),
    ],
)  # fmt: skip
def test_the_verdict_weighs_every_interval(fid, kid, word: str, tone: str, summary: str) -> None:
    record = auto(changed(fid=fid, kid__classifier=kid), verdict=CORRECTS)
    found = verdict_of(record)
    assert (found.word, found.tone, found.summary) == (word, tone, summary)
    assert found.headline == HEADLINES[word]
    written = with_verdict(record)
    assert (written.verdict, written.summary) == (word, summary)
    assert with_verdict(written) == written
    assert f"★ auto: {word}. {summary} Because." == verdict_line(written)


def test_features_that_the_ratio_did_not_see_are_named() -> None:
    weights = changed(fid=(-2, 1), kid__classifier=(-2, 1))
    found = verdict_of(auto(weights, seen=[""]))
    assert found.summary.endswith(". The ratio did not see these features: classifier.")
    assert verdict_of(auto(weights, seen=[])).summary.endswith("did not see these features: pixels, classifier.")
    assert verdict_of(auto(weights, seen=["", "classifier"])).summary.endswith(
        "All of these are of features that the ratio saw."
    )
    assert verdict_of(auto(weights)).summary == "Weighting improves FID and KID @classifier."


def test_heavy_weights_leave_doubts() -> None:
    record = auto({**changed(fid=(-2, 1), kid__classifier=(-2, 1)), "pareto_k": 0.9})
    found = verdict_of(record)
    assert (found.word, found.tone, found.headline) == (CORRECTS, "mixed", DOUBTED)
    (heavy,) = found.doubts
    assert "k̂ is 0.9, not below 0.70" in heavy
    assert "123 effective samples of 20,000" in heavy
    assert heavy in (with_verdict(record).summary or "")
    tied = {**changed(fid=(-2, 1), kid__classifier=(-2, 1)), "pareto_k": None}
    assert verdict_of(auto(tied)).tone == "good"


def test_a_chasm_leaves_the_correction_in_part() -> None:
    """Sides a hundred standard deviations apart: some rows are less far, and weights on them lower every score."""
    record = auto(changed(fid=(-2, 1), kid__classifier=(-2, 1)))
    chasm = replace(record, classifier=replace(record.classifier, density_chasm=True))
    found = verdict_of(chasm)
    assert (found.word, found.tone, found.headline) == (CORRECTS, "mixed", IN_PART)
    worse = replace(auto(changed(fid=(2, 1), kid__classifier=(2, 1))), classifier=chasm.classifier)
    assert verdict_of(worse).headline == HEADLINES[WORSENS]


def test_a_weighting_that_was_named_is_judged_too() -> None:
    found = verdict_of(read(RECORD))
    assert found.headline == "Weighting “half”, as asked for: corrects."


def test_changes_by_the_recommended_weighting() -> None:
    titles, rows = change_rows(read(RECORD))
    assert titles == ["score", "reads", "change", "as generated", "weighted"]
    assert rows[0] == ["FID ↓", "better", "-6 [-6.25, -5.75]", "10 ± 0.25", "4 ± 0.25"]
    assert [row[0] for row in rows] == ["FID ↓", "KID ↓ @classifier"]


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
