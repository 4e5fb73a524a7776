"""Runs that are stopped, and go on."""

import json
import signal

import pytest
import torch
from integration.launch import QUICK, module, refused, start, stop_when

from lfiw import RatioClassifier
from lfiw.config import load

EPOCHS = 6
# smaller batches than by default: an epoch lasts long enough to be hit
SLOW = ["data.batch_size=64", "trainer.patience=0", f"trainer.max_epochs={EPOCHS}", *QUICK]


def checkpoint(folder, name):
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


def interrupt(cwd, cache, number, epochs=1):
    """Stops a run when so many epochs are kept → (folder, exit code, stderr)."""
    process = start("train.py", *SLOW, cache, "run_dir=stopped", cwd=cwd)
    folder = cwd / "stopped"
    metrics = folder / "metrics.jsonl"

    def ready():
        kept = (folder / "checkpoints/last.ckpt").is_file()
        return kept and metrics.is_file() and metrics.read_text().count("val/log_loss") >= epochs

    _, err = stop_when(process, ready, number)
    return folder, process.returncode, err


@pytest.fixture(scope="module")
def cache(digits):
    return f"data.folder={digits.cwd / 'cache'}"


@pytest.fixture(scope="module")
def whole(cache, tmp_path_factory):
    """The run that nothing stops."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    module("train.py").train([*SLOW, cache, f"run_dir={folder}"])
    return folder


def same_end(folder, whole):
    logs = [(f / "metrics.jsonl").read_text().splitlines() for f in (folder, whole)]
    assert logs[0] == logs[1]
    for name in ("last", "best"):
        a, b = checkpoint(folder, name), checkpoint(whole, name)
        assert a["epoch"] == b["epoch"]
        assert a["global_step"] == b["global_step"]
        assert set(a["state_dict"]) == set(b["state_dict"])
        for key, value in a["state_dict"].items():
            assert value.equal(b["state_dict"][key]), key
    ours, theirs = (json.loads((f / "evaluation.json").read_text())["weightings"] for f in (folder, whole))
    assert ours == theirs


@pytest.mark.parametrize(
    ("number", "exit_code", "told"),
    [
        (signal.SIGINT, 130, "interrupted"),
        pytest.param(signal.SIGTERM, 0, "stopped by SIGTERM", marks=pytest.mark.slow),
    ],
)
def test_stopped_by_a_signal(tmp_path, cache, whole, monkeypatch, number, exit_code, told):
    folder, code, err = interrupt(tmp_path, cache, number)
    assert code == exit_code
    assert err == f"{told}: resume with python train.py resume=stopped\n"
    assert (folder / "stopped").read_text() == f"{number.name}\n"
    assert not (folder / "evaluation.json").exists()
    assert load(folder).config.trainer.max_epochs == EPOCHS
    RatioClassifier.load(folder)
    assert checkpoint(folder, "last")["epoch"] < EPOCHS - 1
    monkeypatch.chdir(tmp_path)
    module("train.py").train(["resume=stopped"])
    same_end(folder, whole)
    assert not (folder / "stopped").exists()
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    logged = [line["step"] for line in steps if "val/log_loss" in line]
    assert logged == sorted(set(logged))
    assert len(logged) == EPOCHS
    # once more: nothing is left to train, the scores are those, and nothing is logged twice
    module("train.py").train(["resume=stopped"])
    same_end(folder, whole)
    # and further
    module("train.py").train(["resume=stopped", f"trainer.max_epochs={EPOCHS + 1}"])
    assert checkpoint(folder, "last")["epoch"] == EPOCHS


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 2, 4])
def test_killed(tmp_path, cache, whole, monkeypatch, epochs):
    folder, code, _ = interrupt(tmp_path, cache, signal.SIGKILL, epochs)
    assert code == -signal.SIGKILL
    monkeypatch.chdir(tmp_path)
    module("train.py").train(["resume=stopped"])
    same_end(folder, whole)


@pytest.mark.slow
def test_interrupted_before_the_first_epoch_has_ended(tmp_path, cache, whole, monkeypatch, capfd):
    process = start("train.py", *SLOW, cache, "run_dir=stopped", cwd=tmp_path)
    _, err = stop_when(process, (tmp_path / "stopped/config.yaml").is_file, signal.SIGINT)
    assert process.returncode == 130
    assert err.startswith("interrupted")
    monkeypatch.chdir(tmp_path)
    assert "stopped" in refused(capfd, "evaluate.py", "run=stopped")
    module("train.py").train(["resume=stopped"])
    same_end(tmp_path / "stopped", whole)


def test_nothing_to_resume(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    for folder in ("other", "none"):
        assert "is not a run folder" in refused(capfd, "train.py", f"resume={folder}")
    assert "resume='': expected the name of a file or folder" in refused(capfd, "train.py", "resume=")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["other"]
