"""Runs side by side."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pages import LIMIT, Page, images
from records import RECORD

from lfiw.evaluation.comparison import (
    compare,
    configuration_rows,
    read_runs,
    score_rows,
    warnings_about,
    weighting_rows,
)
from lfiw.evaluation.record import Metric

CONFIG = {"seed": 0, "optimizer": {"lr": 0.1, "ema": 0}}


def write_run(folder: Path, record: dict[str, Any], config: dict[str, Any], losses: list[float]) -> str:
    folder.mkdir(parents=True)
    (folder / "evaluation.json").write_text(json.dumps(record))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    lines = [json.dumps({"step": i, "val/log_loss": loss, "epoch": i}) for i, loss in enumerate(losses)]
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    return str(folder)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two runs: as `RECORD`, and one with other scores, another weighting and a metric less."""
    monkeypatch.chdir(tmp_path)
    other = copy.deepcopy(RECORD)
    other |= {"recommended": "auto", "num_real": 900, "extractors": [{"name": "pixels", "sha256": "cd"}]}
    other["weightings"][2]["name"] = "auto"
    other["flattening"]["scores"]["fid"] = [10.0, None]
    for w in other["weightings"]:
        w["metrics"] = {"fid": {**w["metrics"]["fid"], "value": w["metrics"]["fid"]["value"] + 0.5}}
    second = {**CONFIG, "optimizer": {"lr": 0.2, "ema": 0}, "folds": 2}
    return [
        write_run(tmp_path / "runs/mine/first", RECORD, CONFIG, [0.7, 0.6]),
        write_run(tmp_path / "runs/mine/second", other, second, []),
    ]


def test_tables(folders: list[str]) -> None:
    runs = read_runs(folders)
    titles, rows = score_rows(runs)
    assert titles == ["run: weighting", "ESS", "k̂", "FID ↓", "KID ↓ @classifier"]
    assert [row[0] for row in rows] == ["first: uniform", "first: half ★", "second: uniform", "second: auto ★"]
    assert [row[3] for row in rows] == ["10 ± 0.25", "4 ± 0.25", "10.5 ± 0.25", "4.5 ± 0.25"]
    assert [row[4] for row in rows] == ["0.5 ± 0.25", "0.5 ± 0.25", "–", "–"]
    titles, rows = weighting_rows(runs, Metric("fid"))
    assert titles == ["weighting", "first", "second"]
    assert rows[0] == ["uniform", "10 [9.5, 10.5]", "10.5 [10, 11]"]
    assert rows[2] == ["half", "4 [3.5, 4.5] ★", "–"]
    assert rows[-1] == ["auto", "–", "4.5 [4, 5] ★"]
    assert configuration_rows(runs)[1] == [["optimizer.lr", "0.1", "0.2"], ["folds", "–", "2"]]


def test_what_cannot_be_compared_is_told(folders: list[str]) -> None:
    features, rows = warnings_about(read_runs(folders))
    assert "different features" in features
    assert "different numbers of rows" in rows
    assert warnings_about(read_runs([folders[0], copy_of(folders[0])])) == []


def copy_of(folder: str) -> str:
    return write_run(Path(folder).with_name("third"), RECORD, CONFIG, [0.65])


def test_the_page(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    _, file = compare(folders)
    assert file == Path("runs/comparisons/first+second.html")
    assert 0 < file.stat().st_size < LIMIT
    out = capsys.readouterr().out
    for text in ("second: auto ★", "first: ★ half: corrects. Because.", str(file), "different features"):
        assert text in out
    made = Page(file)
    assert made.open == []
    for text in (
        "first · second",
        "Weighting “half”, as asked for: corrects.",
        "Weighting corrects this generator.",
        "optimizer.lr",
    ):
        assert text in made.text, text
    # two intervals, one curve against the exponent, the losses of the one run that logged some
    assert len(images(made)) == 4
    assert all(image["alt"] for image in images(made))


def test_runs_of_one_name_are_called_by_their_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for parent in ("a", "b"):
        write_run(tmp_path / parent / "run", RECORD, CONFIG, [])
    assert [run.label for run in read_runs(["a/run", "b/run"])] == ["a/run", "b/run"]
    assert compare(["a/run", "b/run"])[1] == Path("runs/comparisons/a-run+b-run.html")
