"""evaluation.json as tables."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import RECORD, read, value, weighting

from lfiw.evaluation.record import Metric
from lfiw.evaluation.tables import (
    classifier_rows,
    correction_rows,
    infinite_rows,
    most_changed_classes,
    number,
    print_evaluation,
    proportion_rows,
    score_rows,
    total_variation,
)


def test_score_rows() -> None:
    titles, rows = score_rows(read(RECORD))
    assert titles == ["weighting", "ESS", "k̂", "max w", "FID ↓", "KID ↓ @classifier"]
    assert rows[0] == ["reference (real, 500 rows)", "–", "–", "–", "1.5", "–"]
    assert [row[0] for row in rows[1:]] == ["uniform", "self-normalised", "half ★", "other"]
    assert rows[1][1:] == ["123.4", "0.25", "0.01", "10 ± 0.25", "0.5 ± 0.25"]
    titles, rows = score_rows(read(RECORD), paper=True)
    assert titles[4:] == ["FID ↓ (paper)"]
    assert [row[-1] for row in rows] == ["–", "11", "6", "5", "7"]
    assert len(score_rows(read({**RECORD, "reference": {}}))[1]) == 4


def test_score_rows_with_intervals() -> None:
    _, rows = score_rows(read(RECORD), intervals=True)
    assert rows[1][4] == "10 [9.5, 10.5]"
    assert rows[0][4] == "1.5"


def test_most_changed_classes() -> None:
    assert most_changed_classes(read(RECORD)) == [0, 1]
    real = [0.02] * 50
    uniform = [0.02 + 0.0001 * c * (-1) ** c for c in range(50)]
    many = {"real_class_proportions": real, "weightings": [weighting("half", 4.0, uniform)]}
    assert most_changed_classes(read({**RECORD, **many})) == list(range(30, 50))


def test_correction_rows() -> None:
    titles, rows = correction_rows(read(RECORD))
    assert titles == ["score", "self-normalised − uniform", "self-normalised − equal ESS", "half ★ − uniform",
                      "half ★ − equal ESS"]  # fmt: skip
    assert rows[0] == ["FID ↓", "-5 [-5.25, -4.75]", "-1", "-6 [-6.25, -5.75]", "-1"]
    assert [row[0] for row in rows] == ["FID ↓", "KID ↓ @classifier"]
    record = copy.deepcopy(RECORD)
    record["weightings"][1]["metrics"]["fid"]["difference"]["half_width"] = None
    assert correction_rows(read(record))[1][0][1] == "-5"
    record["weightings"][2]["metrics"]["fid"]["interval"] = "few rows"
    assert correction_rows(read(record))[1][0][3] == "-6 [-6.25, -5.75] (few rows)"


def test_uniform_weights_differ_by_nothing() -> None:
    record = copy.deepcopy(RECORD)
    record["weightings"][2]["flatten"] = 0.0
    record["weightings"][2]["metrics"]["fid"]["difference"]["value"] = -2.57e-9
    assert correction_rows(read(record))[1][0][3] == "0"


def test_without_permutations_there_is_no_column_of_the_control() -> None:
    record = copy.deepcopy(RECORD)
    for w in record["weightings"]:
        for score in w["metrics"].values():
            score.update({key: {"value": None, "se": None} for key in ("control", "correction")})
    titles, rows = correction_rows(read(record))
    assert titles == ["score", "self-normalised − uniform", "half ★ − uniform"]
    assert rows[0] == ["FID ↓", "-5 [-5.25, -4.75]", "-6 [-6.25, -5.75]"]


def test_infinite_rows() -> None:
    assert infinite_rows(read(RECORD))[1] == []
    record = copy.deepcopy(RECORD)
    for w in record["weightings"][::2]:
        w["metrics"]["fid"]["infinite"] = {"value": 3.0, "se": 0.5}
    assert infinite_rows(read(record)) == (["weighting", "FID ↓"], [["uniform", "3 ± 0.5"], ["half", "3 ± 0.5"]])


def test_classifier_rows() -> None:
    titles, rows = classifier_rows(read(RECORD))
    assert titles[:2] == ["log-ratios", "log-loss ↓"]
    assert rows == [["as trained", *["0.5"] * 5], ["beta", *["0.25"] * 5]]
    assert len(classifier_rows(read({**RECORD, "calibration": "none"}))[1]) == 1


def test_proportion_rows() -> None:
    titles, rows = proportion_rows(read(RECORD))
    assert titles == ["class", "uniform", "self-normalised", "half", "real"]
    assert rows[0] == ["0", "90.0%", "60.0%", "70.0%", "50.0%"]
    assert rows[-1] == ["distance to real", "0.400", "0.100", "0.200", "–"]


@pytest.mark.parametrize(
    ("recommended", "shown"),
    [
        ("uniform", ["uniform", "self-normalised"]),
        ("self-normalised", ["uniform", "self-normalised"]),
        ("other", ["uniform", "self-normalised", "other"]),
    ],
)
def test_shown_weightings(recommended: str, shown: list[str]) -> None:
    assert [w.name for w in read({**RECORD, "recommended": recommended}).shown] == shown
    alone = {**RECORD, "weightings": RECORD["weightings"][:1], "recommended": "uniform"}
    assert [w.name for w in read(alone).shown] == ["uniform"]


@pytest.mark.parametrize(
    ("name", "title"),
    [("fid", "FID ↓"), ("kid_paper@resnet56", "KID ↓ (paper) @resnet56"), ("is@a", "IS ↑ @a"), ("new", "new")],
)
def test_metric_title(name: str, title: str) -> None:
    assert Metric.named(name).title == title


@pytest.mark.parametrize(
    ("x", "digits", "text"),
    [
        (None, 4, "–"), (float("nan"), 4, "–"), (0.0, 4, "0"), (1.23456, 4, "1.235"), (9999.4, 4, "9999"),
        (9999.6, 4, "10,000"), (10_000.0, 4, "10,000"), (123456.7, 4, "123,457"),
        (1234567.8, 4, "1.235e+06"), (-1.2e41, 4, "-1.2e+41"), (-9999.7, 4, "-10,000"),
        (99.7, 2, "100"), (0.996, 2, "1"), (1.5e-7, 4, "1.5e-07"),
    ],
)  # fmt: skip
def test_number(x: float | None, digits: int, text: str) -> None:
    assert number(x, digits) == text


@given(st.floats(-1e12, 1e12), st.integers(2, 6))
def test_a_number_reads_back(x: float, digits: int) -> None:
    text = number(x, digits)
    assert abs(float(text.replace(",", "")) - x) <= 0.5 * 10.0 ** (1 - digits) * abs(x) * (1 + 1e-9)
    assert len(text.lstrip("-").partition("e")[0].replace(",", "").replace(".", "").lstrip("0")) <= 6


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_total_variation(p: list[float]) -> None:
    q = list(reversed(p))
    assert total_variation(p, q) == pytest.approx(np.abs(np.array(p) - np.array(q)).sum() / 2, abs=1e-12)


def test_print_evaluation(capsys: pytest.CaptureFixture[str]) -> None:
    print_evaluation(read(RECORD))
    out = capsys.readouterr().out
    for text in (
        "mine: 20,000 generated against 1,000 real rows",
        "half ★",
        "★ half: corrects. Because.",
        "70 real and 60 generated validation rows: accuracy 75.0%",
        "half ★ − equal ESS",
        "distance to real",
        "(paper)",
    ):
        assert text in out
    assert "chasm" not in out
    assert "–:" not in out
    lost = copy.deepcopy(RECORD)
    lost["lost"] = {"fid": "the sums cancelled"}
    for w in lost["weightings"]:
        w["metrics"]["fid"] = {**value(None), "difference": value(None)}
    print_evaluation(read(lost))
    out = capsys.readouterr().out
    assert "FID ↓ –: the sums cancelled" in out
    assert [row[4] for row in score_rows(read(lost))[1]] == ["1.5", "–", "–", "–", "–"]
    chasm = {**RECORD, "recommended": "auto", "classifier": {**RECORD["classifier"], "density_chasm": True}}
    chasm["weightings"] = [*RECORD["weightings"], weighting("auto", 4.0, [0.7, 0.3])]
    print_evaluation(read(chasm))
    out = capsys.readouterr().out
    assert "density chasm: the classifier tells 75.0% of held-out rows apart" in out
    assert "★ auto: corrects. Because." in out
