"""Where numbers go."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from pytorch_lightning.loggers import CSVLogger, WandbLogger

from lfiw import InputError
from lfiw.training import tracking
from lfiw.training.tracking import CsvRows, JsonLines, Prefixed, build_loggers, find_json_lines, finish, wandb_id


def test_json_lines(tmp_path: Path) -> None:
    logger = JsonLines(tmp_path / "metrics.jsonl")
    logger.log_metrics({"loss": 0.5, "n": 3}, step=1)
    logger.log_metrics({"loss": float("nan"), "inf": float("inf")}, step=2)
    JsonLines(tmp_path / "metrics.jsonl").log_metrics({"x": 1.0})  # a resumed run appends
    logger.log_hyperparams({"lr": 1})
    logger.finalize("finished")
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": 1, "loss": 0.5, "n": 3}, {"step": 2, "loss": None, "inf": None}, {"step": None, "x": 1.0}]
    assert (logger.name, logger.version) == ("jsonl", tmp_path.name)


def test_a_log_is_taken_back_to_a_checkpoint(tmp_path: Path) -> None:
    """Of two trainings: what the one logs again goes, with half lines and what the run logged in the end."""
    path = tmp_path / "metrics.jsonl"
    JsonLines(path).log_metrics({"a/loss": 1.0, "a/epoch": 0}, step=1)
    position = JsonLines(path).position()
    for name, epoch in (("a", 1), ("b", 0), ("a", 2), ("b", 1)):
        JsonLines(path).log_metrics({f"{name}/loss": 1.0, f"{name}/epoch": epoch}, step=1)
    JsonLines(path).log_metrics({"test/fid": 3.0}, step=0)
    with open(path, "a") as file:
        file.write('{"step": 1, "b/lo')
    whole = path.read_text()
    JsonLines(path).rewind(None, "a/")  # a new run
    assert path.read_text() == whole
    JsonLines(path).rewind(position, "a/")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line.get("a/epoch"), line.get("b/epoch")) for line in lines] == [(0, None), (None, 0), (None, 1)]
    JsonLines(path, resumed=True).rewind(None, "b/")  # it was killed before its first checkpoint
    assert [json.loads(line).get("a/epoch") for line in path.read_text().splitlines()] == [0]
    JsonLines(tmp_path / "none.jsonl", resumed=True).rewind(5, "")
    assert not (tmp_path / "none.jsonl").exists()


@pytest.mark.parametrize("prefix", ["", "fold0/"])
def test_the_log_is_found(tmp_path: Path, prefix: str) -> None:
    log = JsonLines(tmp_path / "metrics.jsonl")
    loggers = [CSVLogger(tmp_path), log]
    own = [Prefixed(logger, prefix) for logger in loggers] if prefix else loggers
    assert find_json_lines(own) == (log, prefix)
    assert find_json_lines([CSVLogger(tmp_path)]) is None


def test_the_wandb_id_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = wandb_id(tmp_path)
    assert len(first) == 8
    assert wandb_id(tmp_path) == first
    assert (tmp_path / "wandb_id.txt").read_text().strip() == first
    (tmp_path / "other").mkdir()
    assert wandb_id(tmp_path / "other") != first
    monkeypatch.setattr(tracking, "rank_zero_only", SimpleNamespace(rank=1))
    assert wandb_id(tmp_path) == first
    (tmp_path / "third").mkdir()
    assert wandb_id(tmp_path / "third") == "other-rank"
    assert not list((tmp_path / "third").iterdir())


def test_build_loggers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    (only,) = build_loggers("none", tmp_path, {})
    assert isinstance(only, JsonLines)
    assert [type(x) for x in build_loggers("csv", tmp_path, {})] == [JsonLines, CsvRows]
    _, wandb = build_loggers("wandb", tmp_path, {"seed": 1}, project="p", entity="e")
    assert isinstance(wandb, WandbLogger)
    assert wandb.version == wandb_id(tmp_path)
    made = wandb._wandb_init
    assert (made["project"], made["entity"], made["id"]) == ("p", "e", wandb_id(tmp_path))
    assert wandb._offline
    tried = []
    monkeypatch.setattr(tracking, "_connect", lambda options, log_checkpoint: tried.append(options["id"]))
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert build_loggers("wandb", tmp_path, {}, mode="offline")[1]._offline  # type: ignore[attr-defined]
    assert not tried
    # auto is online where there is a key; offline all the same where W&B does not answer
    assert build_loggers("wandb", tmp_path, {})[1]._offline  # type: ignore[attr-defined]
    assert tried == [wandb_id(tmp_path)]


def rows_of(file: Path) -> list[dict[str, str]]:
    with open(file, newline="") as content:
        return list(csv.DictReader(content))


def logged(folder: Path, *rows: dict[str, float]) -> None:
    """One part of a run."""
    loggers = build_loggers("csv", folder, {})
    for step, row in enumerate(rows):
        loggers[1].log_metrics(row, step=step)
    finish(loggers)


def test_a_later_part_of_a_run_keeps_the_rows_of_metrics_csv(tmp_path: Path) -> None:
    logged(tmp_path, {"loss": 1.0}, {"loss": 0.5})
    logged(tmp_path, {"loss": 0.25})
    logged(tmp_path)
    logged(tmp_path, {"fid": 3.0})  # a column more
    table = rows_of(tmp_path / "csv/metrics.csv")
    assert [row["loss"] for row in table] == ["1.0", "0.5", "0.25", ""]
    assert [row["fid"] for row in table] == ["", "", "", "3.0"]


def test_a_row_that_a_kill_cut_is_left_out(tmp_path: Path) -> None:
    logged(tmp_path, {"loss": 1.0}, {"loss": 0.5})
    file = tmp_path / "csv/metrics.csv"
    file.write_bytes(file.read_bytes()[:-3])
    logged(tmp_path, {"loss": 0.25})
    assert [row["loss"] for row in rows_of(file)] == ["1.0", "0.25"]
    file.write_bytes(b"")
    logged(tmp_path, {"loss": 0.125})
    assert [row["loss"] for row in rows_of(file)] == ["0.125"]


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"metrics\.jsonl: cannot write there \(No space left on device\): free some"):
        JsonLines(tmp_path / "metrics.jsonl").log_metrics({"loss": 1.0})


def test_pictures_and_tables_go_to_wandb_alone(tmp_path: Path) -> None:
    loggers = build_loggers("csv", tmp_path, {})
    tracking.log_pictures(loggers, {"x": tmp_path / "missing.png"})
    tracking.log_table(loggers, "x", ["a"], [[1]])
    tracking.log_histogram(loggers, "x", [1.0])
    assert not list(tmp_path.glob("metrics.jsonl"))
