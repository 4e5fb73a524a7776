"""W&B goes away in the middle of an online run: the run and its evaluation end well, and soon."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import wandb
from integration.launch import QUICK, module
from integration.test_wandb_offline import key_of, records
from tracking_server import TrackingServer

from lfiw.training import tracking
from lfiw.training.tracking import build_loggers

FINISH_SECONDS = 3.0


@pytest.fixture
def server(monkeypatch):
    wandb.teardown()  # it remembers the server of the run before
    server = TrackingServer()
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr(tracking, "FINISH_SECONDS", FINISH_SECONDS)
    monkeypatch.setattr(tracking, "CONNECT_SECONDS", 5.0)
    yield server
    server.close()
    wandb.teardown()


@pytest.fixture
def arguments(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return [f"data.folder={digits.cwd / 'cache'}", "trainer.max_epochs=2", *QUICK[:-1]]


def names_of(folder):
    return {key_of(item) for record in records(folder) if record.HasField("history") for item in record.history.item}


@pytest.mark.slow
def test_a_run_that_is_online(server, arguments, capfd):
    """The server takes in what a run logs: the next test is about an outage, and not about a server that never was."""
    _, objects = module("train.py").train(arguments)
    assert objects["record"]["weightings"]
    assert any("val/log_loss" in line for line in server.history)
    assert any("test/uniform/fid" in line for line in server.history)
    assert "W&B" not in capfd.readouterr().err


@pytest.mark.slow
def test_an_outage(server, arguments, capfd, monkeypatch):
    logged = tracking.JsonLines.log_metrics

    def log_and_cut(self, metrics, step=None):
        logged(self, metrics, step)
        if "val/log_loss" in metrics and not server.closed:
            server.close()

    monkeypatch.setattr(tracking.JsonLines, "log_metrics", log_and_cut)
    ended = []
    finish = tracking.finish

    def timed_finish(loggers, *, failed=False):
        started = time.monotonic()
        finish(loggers, failed=failed)
        ended.append(time.monotonic() - started)

    monkeypatch.setattr(tracking, "finish", timed_finish)
    module("train.py").train(arguments)
    assert server.closed
    assert FINISH_SECONDS <= ended[0] < FINISH_SECONDS + 20
    (run,) = Path("runs/digits").iterdir()
    losses = [line for line in (run / "metrics.jsonl").read_text().splitlines() if "val/log_loss" in json.loads(line)]
    assert len(losses) == 2  # the second epoch was trained without W&B
    assert (run / "evaluation.json").is_file()
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("W&B")][-1]
    assert told.startswith(
        "W&B does not answer, the run is whole without it: send what is missing later by wandb sync "
    )
    folder = Path(told.rpartition(" ")[2])
    assert folder.name.startswith("run-")  # not offline from the start
    assert {"val/log_loss", "test/uniform/fid"} <= names_of(folder)

    before = json.loads((run / "evaluation.json").read_text())
    module("evaluate.py").evaluate([f"run={run}", arguments[0], "evaluation.figures=false"])
    assert json.loads((run / "evaluation.json").read_text())["weightings"][0] == before["weightings"][0]
    assert capfd.readouterr().err.count("W&B is not available, this run is kept offline") == 1
    (offline,) = (run / "wandb").glob("offline-run-*")
    assert "test/uniform/fid" in names_of(offline)


def test_a_wandb_that_breaks(tmp_path, capfd, monkeypatch):
    """Its own process may end, and every call then raises: the first is told, the others are not made."""
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = build_loggers("wandb", tmp_path, {}, mode="offline")[1]
    logger.log_metrics({"x": 1.0}, 1)
    calls = []

    def broken(*_, **__):
        calls.append(1)
        raise ConnectionResetError("Connection lost")

    monkeypatch.setattr(logger.experiment, "log", broken)
    logger.log_metrics({"x": 2.0}, 2)
    tracking.log_table([logger], "t", ["a"], [[1]])
    tracking.log_histogram([logger], "h", [1.0])
    tracking.finish([logger])
    assert len(calls) == 1
    (told,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("W&B")]
    assert told == "W&B failed (Connection lost): the run continues without it"


@pytest.mark.slow
def test_a_table_in_an_outage_takes_seconds(server, tmp_path, monkeypatch):
    """In a process of its own: wandb reads how long it may wait when it is imported."""
    script = """
import os, sys, time
from pathlib import Path
from tracking_server import TrackingServer
from lfiw.training import tracking
server = TrackingServer()
os.environ["WANDB_BASE_URL"] = server.url
loggers = tracking.build_loggers("wandb", Path(sys.argv[1]), {}, mode="online")
server.close()
started = time.monotonic()
tracking.log_table(loggers, "table", ["x"], [[1]])
print(time.monotonic() - started, flush=True)
os._exit(0)
"""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < tracking.ASK_SECONDS + 3
