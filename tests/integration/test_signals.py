"""Two processes that train.py starts: a signal or the death of one ends both, at any moment."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from integration.launch import QUICK, launch, start

from lfiw.untrusted import read_checkpoint

MINUTE = 60
# sixteen steps an epoch: a signal hits steps, validation, and what is between
OPTIONS = ["trainer=ddp_cpu", "data.batch_size=512", "trainer.patience=0", "trainer.max_epochs=2000", *QUICK]


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def begin(cwd, name, *arguments):
    """A run of two processes whose first epoch is over → (first process, pid of the second)."""
    process = start("train.py", *OPTIONS, f"run_dir={name}", *arguments, cwd=cwd)
    deadline = time.monotonic() + 3 * MINUTE
    while not (cwd / name / "checkpoints/last.ckpt").is_file():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (second,) = children_of(process.pid)
    return process, second


def end(process, second):
    """(exit code, stderr) of the first process; the second has ended too."""
    deadline = time.monotonic() + MINUTE
    try:
        _, err = process.communicate(timeout=MINUTE)
        while is_running(second):
            assert time.monotonic() < deadline, "the second process is still there"
            time.sleep(0.1)
    finally:
        for pid in (process.pid, second):
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)
    return process.returncode, err


@pytest.mark.slow
@pytest.mark.parametrize("to", ["first", "second", "both"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal(tmp_path, digits, to, number):
    process, second = begin(tmp_path, "run", f"data.folder={digits.cwd / 'cache'}")
    time.sleep(random.Random(to).uniform(0, 1))
    for pid in {"first": [process.pid], "second": [second], "both": [process.pid, second]}[to]:
        os.kill(pid, number)
    code, err = end(process, second)
    assert code == (130 if number == signal.SIGINT else 0), err
    assert err.endswith("resume with python train.py resume=run\n")
    kept = read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")
    code, _, err = launch("train.py", "resume=run", f"trainer.max_epochs={kept['epoch'] + 2}", cwd=tmp_path)
    assert code == 0, err
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    for name in ("val/log_loss", "train/loss"):
        assert [line["epoch"] for line in lines if name in line] == list(range(kept["epoch"] + 2))
    assert (tmp_path / "run/evaluation.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("dies", ["first", "second"])
def test_a_death(tmp_path, digits, dies):
    process, second = begin(tmp_path, "run", f"data.folder={digits.cwd / 'cache'}")
    os.kill(process.pid if dies == "first" else second, signal.SIGKILL)
    code, err = end(process, second)
    assert code != 0, err
    assert read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")["global_step"] > 0
