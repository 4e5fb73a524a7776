"""evaluation.json goes through its record unchanged, and what is damaged is named."""

import copy
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from records import RECORD, read

from lfiw.errors import InputError
from lfiw.evaluation.record import METRICS, EvaluationRecord, Metric, TableRecord

FILE = Path(__file__).with_name("evaluation_0_1_0.json")  # written by the code before it had a record
KEPT: dict[str, Any] = json.loads(FILE.read_text())


def test_a_file_is_written_as_it_was_read(tmp_path: Path) -> None:
    EvaluationRecord.read(FILE).write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == FILE.read_text()


def test_fields_are_what_the_file_says() -> None:
    record = EvaluationRecord.read(FILE)
    w, kept = record.weightings[1], KEPT["weightings"][1]
    fid, of_file = w.metrics[Metric("fid")], kept["metrics"]["fid"]
    assert (w.ess, w.pareto_k, fid.value, fid.se) == (kept["ess"], kept["pareto_k"], of_file["value"], of_file["se"])
    assert fid.control is not None
    assert (fid.control.value, fid.control.se) == tuple(of_file["control"].values())
    assert w.metrics[Metric("is", "classifier", paper=True)].value == kept["metrics"]["is_paper@classifier"]["value"]
    assert record.tables[0] == TableRecord(**KEPT["tables"][0])
    assert math.isnan(record.uniform.pareto_k)
    assert record.uniform.kl_gain is None


def test_exact_weights_and_lost_numbers_are_null() -> None:
    content = copy.deepcopy(KEPT)
    content["weightings"][-1] |= {"flatten": None, "clip": None, "smooth": None, "kl_gain": None, "pareto_k": None}
    content["weightings"][-1]["metrics"]["fid"]["half_width"] = None
    content["flattening"]["scores"]["fid"][0] = None
    assert read(content).to_json() == content
    exact = read(content).weightings[-1]
    assert not exact.is_uniform
    with pytest.raises(InputError, match="flatten"):
        _ = exact.weighting
    infinite = dataclasses.replace(read(KEPT), pareto_k_threshold=math.inf)
    assert infinite.to_json()["pareto_k_threshold"] is None


def test_older_files_lack_what_came_later() -> None:
    lacking = ("version", "run", "num_reference", "paper_blocks", "calibration", "folds", "ensemble", "tables")
    content = {name: value for name, value in KEPT.items() if name not in (*lacking, "flattening")}
    content["weightings"] = copy.deepcopy(content["weightings"])
    for w in content["weightings"]:
        for score in w["metrics"].values():
            for name in ("half_width", "interval", "control", "correction", "infinite"):
                score.pop(name, None)
    record = read(content)
    assert (record.folds, record.calibration, record.tables, record.flattening) == (1, "none", (), None)
    assert not record.has_intervals
    assert record.to_json()["weightings"] == content["weightings"]


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (["num_real"], 7.5, "num_real: expected a whole number, found 7.5"),
        (["num_real"], True, "num_real: expected a whole number, found True"),
        (["run"], None, "run: expected text, found None"),
        (["weightings"], {}, "weightings: expected a list, found {}"),
        (["weightings", 1, "ess"], "many", "weightings[1].ess: expected a number, found 'many'"),
        (["weightings", 1, "ess"], 10**400, "weightings[1].ess: expected a number, found 1000"),
        (
            ["weightings", 0, "metrics", "kid", "difference"],
            1.0,
            "weightings[0].metrics.kid.difference: expected an",
        ),
        (["weightings", 0, "metrics", "kid", "control"], None, "weightings[0].metrics.kid.control: expected an object"),
        (["weightings", 2, "metrics"], {}, "weightings[2].metrics: expected those of weightings[0]"),
        (["weightings", 2, "class_proportions"], [1.0], "weightings[2].class_proportions: expected 10"),
        (["flattening", "ess"], [1.0], "flattening: expected one value for each of the 3 exponents"),
        (
            ["recommended"],
            "best",
            "recommended: expected one of uniform, self-normalised, smoothed, auto",
        ),
        (["verdict"], "perhaps", "verdict: expected one of corrects,"),
        (["classifier", "raw"], {}, "classifier.raw.log_loss is missing"),
    ],
)
def test_damage_is_told_in_one_line(tmp_path: Path, path: list[Any], value: object, told: str) -> None:
    content = copy.deepcopy(KEPT)
    place = content
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    file = tmp_path / "evaluation.json"
    file.write_text(json.dumps(content))
    with pytest.raises(InputError) as raised:
        EvaluationRecord.read(file)
    message = str(raised.value)
    assert message.startswith(f"{file}: {told}")
    assert message.endswith(f"score the run again: python evaluate.py run={tmp_path}")
    assert "\n" not in message


@pytest.mark.parametrize("name", ["fid", "kid_paper@resnet56", "is@a", "precision@my_paper", "new", "new_one@b"])
def test_a_metric_goes_round(name: str) -> None:
    assert str(Metric.named(name)) == name


def test_direction_and_arrow_agree() -> None:
    for kind in METRICS:
        better, title = Metric(kind).higher_is_better, Metric(kind).title
        assert ("↑" in title, "↓" in title) == (better is True, better is False)
    assert Metric("fid").higher_is_better is False
    assert Metric("is").higher_is_better is True
    assert Metric("↓ of somebody").higher_is_better is None


def test_without_intervals_there_are_none() -> None:
    assert read(RECORD).has_intervals
    content = copy.deepcopy(RECORD)
    for w in content["weightings"]:
        w["metrics"] = {"fid_paper": w["metrics"]["fid_paper"]}
    assert not read(content).has_intervals
    assert read(content).metrics() == []
