"""A training that stopped and went on is the one that did not stop: weights, optimizers, metrics, to the bit."""

import json
from pathlib import Path
from typing import Any

import pytest
from processes import exit_codes, join, leave, start
from pytorch_lightning.callbacks import Checkpoint
from trainings import IN_SEVERAL_PROCESSES, NAMES, check_same, everything, run

from lfiw.untrusted import read_checkpoint


class Crash(RuntimeError):
    pass


class CrashAt(Checkpoint):
    """Raises in a hook, when so many steps have been begun; a `Checkpoint`, so that its turn is after those."""

    def __init__(self, hook: str, step: int) -> None:
        self.step = step
        setattr(self, hook, self.crash)

    def crash(self, trainer: Any, *_: Any) -> None:
        if trainer.fit_loop.total_batch_idx + 1 >= self.step:
            raise Crash


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Name of a module → what its training leaves that nothing stops."""
    kept: dict[str, dict[str, Any]] = {}

    def of(name: str) -> dict[str, Any]:
        if name not in kept:
            folder = tmp_path_factory.mktemp(name)
            run(name, folder)
            kept[name] = everything(folder)
        return kept[name]

    return of


@pytest.mark.parametrize("name", NAMES)
def test_two_runs_are_equal(tmp_path: Path, straight: Any, name: str) -> None:
    run(name, tmp_path)
    check_same(everything(tmp_path), straight(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_crash_in_the_middle_of_an_epoch(tmp_path: Path, straight: Any, name: str) -> None:
    """Twice: in the second epoch, and in the third."""
    for step in (8, 14):
        with pytest.raises(Crash):
            run(name, tmp_path, step > 8, checkpoint_steps=2, callbacks=[CrashAt("on_train_batch_start", step)])
        last = read_checkpoint(tmp_path / "checkpoints/last.ckpt")
        assert not last["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"]
    run(name, tmp_path, resume=True, checkpoint_steps=2)
    check_same(everything(tmp_path), straight(name))


POINTS = [
    (hook, step)
    for hook, steps in {
        "on_train_batch_start": (1, 6, 7),
        "on_train_batch_end": (5, 9, 10),
        "on_validation_start": (5, 10),
        "on_validation_end": (5, 10, 15),
        "on_train_epoch_end": (5, 15),
        "on_train_end": (1,),
    }.items()
    for step in steps
]


@pytest.fixture(scope="module")
def stopped_early(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("early")
    run("ratio", folder, max_epochs=9, patience=2)
    kept = everything(folder)
    assert kept["last.ckpt progress"][0] < 8, "it has to stop early"
    return kept


@pytest.mark.parametrize("every", [1, pytest.param(0, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("hook", "step"), POINTS)
def test_a_crash_anywhere(tmp_path: Path, stopped_early: dict[str, Any], hook: str, step: int, every: int) -> None:
    """Five steps an epoch; early stopping is over where it was, and not sooner."""
    options: dict[str, Any] = {"max_epochs": 9, "patience": 2, "checkpoint_steps": every}
    with pytest.raises(Crash):
        run("ratio", tmp_path, callbacks=[CrashAt(hook, step)], **options)
    run("ratio", tmp_path, resume=True, **options)
    check_same(everything(tmp_path), stopped_early)


def test_more_patience_and_more_epochs(tmp_path: Path, stopped_early: dict[str, Any]) -> None:
    run("ratio", tmp_path, max_epochs=9, patience=2)
    run("ratio", tmp_path, resume=True, max_epochs=9, patience=2)  # nothing is left to do
    check_same(everything(tmp_path), stopped_early)
    run("ratio", tmp_path, resume=True, max_epochs=9, patience=9)
    assert everything(tmp_path)["last.ckpt progress"][0] == 8
    run("ratio", tmp_path, resume=True, max_epochs=11, patience=99)
    logged = [json.loads(line)["epoch"] for line in everything(tmp_path)["log"] if "val/" in line]
    assert logged == list(range(11))


def crash_and_resume(rank: int, world_size: int, name: str, folder: str) -> None:
    """One of two processes: a training that nothing stops, and one that crashes and resumes."""
    join(rank, world_size, Path(folder))
    straight, stopped = Path(folder, "straight"), Path(folder, "stopped")
    options: dict[str, Any] = {"devices": 2, "strategy": "ddp"}
    run(name, straight, **options)
    options["checkpoint_steps"] = 2
    with pytest.raises(Crash):
        run(name, stopped, callbacks=[CrashAt("on_train_batch_start", 8)], **options)
    run(name, stopped, resume=True, **options)
    leave(0)


@pytest.mark.parametrize(
    "name",
    [name if name in ("ratio", "vae") else pytest.param(name, marks=pytest.mark.slow) for name in IN_SEVERAL_PROCESSES],
)
def test_two_processes_crash(tmp_path: Path, straight: Any, name: str) -> None:
    """They go on to the same bits; and what they learn is what one process does, where dropout does not differ."""
    for made in ("straight", "stopped"):
        (tmp_path / made).mkdir()
    assert exit_codes(start(crash_and_resume, 2, name, str(tmp_path)), 200) == [0, 0]
    expected = everything(tmp_path / "straight")
    check_same(everything(tmp_path / "stopped"), expected)
    if name in ("vae", "dynamics"):
        for one, two in zip(straight(name)["log"], expected["log"], strict=True):
            assert json.loads(two) == pytest.approx(json.loads(one), rel=1e-3)
