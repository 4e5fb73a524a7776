"""Where numbers go."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from pytorch_lightning.loggers import CSVLogger, WandbLogger

from lfiw import tracking
from lfiw.tracking import JsonLines, build_loggers, wandb_id


def test_json_lines(tmp_path: Path) -> None:
    logger = JsonLines(tmp_path / "metrics.jsonl")
    logger.log_metrics({"loss": 0.5, "n": 3}, step=1)
    logger.log_metrics({"loss": float("nan"), "inf": float("inf")}, step=2)
    JsonLines(tmp_path / "metrics.jsonl").log_metrics({"x": 1.0})  # a resumed run goes on
    logger.log_hyperparams({"lr": 1})
    logger.finalize("finished")
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": 1, "loss": 0.5, "n": 3}, {"step": 2, "loss": None, "inf": None}, {"step": None, "x": 1.0}]
    assert (logger.name, logger.version) == ("jsonl", tmp_path.name)


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
    assert [type(x) for x in build_loggers("csv", tmp_path, {})] == [JsonLines, CSVLogger]
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


def test_pictures_and_tables_go_to_wandb_alone(tmp_path: Path) -> None:
    loggers = build_loggers("csv", tmp_path, {})
    tracking.log_pictures(loggers, {"x": tmp_path / "missing.png"})
    tracking.log_table(loggers, "x", ["a"], [[1]])
    tracking.log_histogram(loggers, "x", [1.0])
    assert not list(tmp_path.glob("metrics.jsonl"))
