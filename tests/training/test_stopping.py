"""Signals and kills at any moment of a training: the last checkpoint is whole, all processes end, and a resumed run is
the one that nothing stopped."""

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from processes import exit_codes, join, leave, start, wait_for
from trainings import check_same, everything, run

from lfiw.training import stopping
from lfiw.training.stopping import Stopped, stoppable
from lfiw.untrusted import read_checkpoint

MINUTE = 60
STEP_OPTIONS = {"max_epochs": 30, "checkpoint_steps": 2}


def trains(rank: int, world_size: int, folder: str, resume: bool) -> None:
    """A process of a training of 150 steps, as train.py has it."""
    path = Path(folder)
    ddp = {"devices": world_size, "strategy": "ddp"} if world_size > 1 else {}
    join(rank, world_size, path)
    try:
        with stoppable():
            (path / f"ready{rank}").touch()
            run("ratio", path, resume=resume, **STEP_OPTIONS, **ddp)
    except Stopped as stopped:
        leave(stopped.exit_code)
    leave(0)


def begin(folder: Path, world_size: int, resume: bool = False) -> list[Any]:
    """Processes that are about to train."""
    folder.mkdir(exist_ok=True)
    ready = [folder / f"ready{rank}" for rank in range(world_size)]
    for file in (*ready, folder / "rendezvous"):
        file.unlink(missing_ok=True)
    processes = start(trains, world_size, str(folder), resume)
    wait_for(lambda: all(file.exists() for file in ready), processes)
    return processes


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Number of processes → what the training leaves that nothing stops, and its seconds."""
    kept: dict[int, tuple[dict[str, Any], float]] = {}

    def of(world_size: int) -> tuple[dict[str, Any], float]:
        if world_size not in kept:
            folder = tmp_path_factory.mktemp(f"straight{world_size}")
            processes = begin(folder, world_size)
            started = time.monotonic()
            assert exit_codes(processes, 2 * MINUTE) == [0] * world_size
            kept[world_size] = everything(folder), time.monotonic() - started
        return kept[world_size]

    return of


def wait_for_epoch(folder: Path, epoch: int, processes: list[Any], seconds: float) -> None:
    """Until so many epochs of a new training are over, and a part of the next one."""
    log = folder / "metrics.jsonl"
    wait_for(lambda: epoch == 0 or (log.exists() and log.read_text().count("train/loss") >= epoch), processes)
    time.sleep(seconds)


def check_whole(folder: Path) -> None:
    """Whatever the moment was, a checkpoint that is there is whole, and nothing else is there."""
    for file in (folder / "checkpoints").glob("*.ckpt"):
        if not file.name.startswith("."):  # being written
            assert read_checkpoint(file)["state_dict"]


def kill_again_and_again(folder: Path, kills: int, expected: dict[str, Any], seconds: float, world_size: int) -> int:
    """Kills at random moments; as often as a training gets to its end all the same, it has to be that of `expected`.

    Returns:
        Trainings that got there.
    """
    source = random.Random(0)
    done, ends, path = 0, 0, folder / "0"
    while done < kills or not ends:
        resume = (path / "checkpoints").exists()
        processes = begin(path, world_size, resume)
        if done < kills:
            time.sleep(source.uniform(0.05, max(0.3, 0.3 * seconds)))
        else:
            processes[0].join(2 * MINUTE)
        if done < kills:
            source.choice(processes).kill()
        codes = exit_codes(processes, MINUTE)
        check_whole(path)
        if -signal.SIGKILL in codes:
            done += 1
        else:
            assert codes == [0] * world_size
            check_same(everything(path), expected)
            ends, path = ends + 1, folder / str(ends + 1)
    return ends


@pytest.mark.parametrize("kills", [4, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_again_and_again(tmp_path: Path, straight: Any, kills: int) -> None:
    expected, seconds = straight(1)
    print(kill_again_and_again(tmp_path, kills, expected, seconds, 1), "trainings got to their end")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_stops_after_the_step(tmp_path: Path, straight: Any, number: signal.Signals) -> None:
    expected, seconds = straight(1)
    processes = begin(tmp_path, 1)
    wait_for_epoch(tmp_path, 15, processes, seconds / 60)
    os.kill(processes[0].pid, number)
    assert exit_codes(processes, MINUTE) == [130 if number == signal.SIGINT else 0]
    check_whole(tmp_path)
    steps = read_checkpoint(tmp_path / "checkpoints/last.ckpt")["global_step"]
    assert 0 < steps < 150
    assert exit_codes(begin(tmp_path, 1, resume=True), 2 * MINUTE) == [0]
    check_same(everything(tmp_path), expected)


@pytest.mark.parametrize(
    ("to", "times"),
    [
        ("second", 1),
        pytest.param("first", 20, marks=pytest.mark.slow),
        pytest.param("second", 20, marks=pytest.mark.slow),
        pytest.param("all", 20, marks=pytest.mark.slow),
    ],
)
def test_a_signal_to_one_process_stops_all(tmp_path: Path, straight: Any, to: str, times: int) -> None:
    """At random moments: in steps, in validation, between epochs, while a checkpoint is written."""
    expected, seconds = straight(2)
    source = random.Random(to)
    for i in range(times):
        path = tmp_path / str(i)
        processes = begin(path, 2)
        wait_for_epoch(path, source.randrange(1, 25), processes, source.uniform(0, seconds / 30))
        for process in {"first": processes[:1], "second": processes[1:], "all": processes}[to]:
            os.kill(process.pid, signal.SIGTERM)
        assert exit_codes(processes, MINUTE) == [0, 0]
        check_whole(path)
        assert read_checkpoint(path / "checkpoints/last.ckpt")["global_step"] > 0
    assert exit_codes(begin(path, 2, resume=True), 2 * MINUTE) == [0, 0]
    check_same(everything(path), expected)


@pytest.mark.parametrize("kills", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_a_process_that_dies_ends_the_others(tmp_path: Path, straight: Any, kills: int) -> None:
    expected, seconds = straight(2)
    kill_again_and_again(tmp_path, kills, expected, seconds, 2)


def is_busy(rank: int, world_size: int, folder: str, seconds: float) -> None:
    """With something that does not look for signals."""
    stopping.SECONDS = seconds
    try:
        with stoppable():
            stopping.defer(True)
            Path(folder, "ready").touch()
            time.sleep(MINUTE)
    except Stopped as stopped:
        leave(stopped.exit_code)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_never_looks_for_the_signal_is_ended(tmp_path: Path, number: signal.Signals) -> None:
    processes = start(is_busy, 1, str(tmp_path), 0.5)
    wait_for((tmp_path / "ready").exists, processes)
    os.kill(processes[0].pid, number)
    assert exit_codes(processes, MINUTE / 2) == [130 if number == signal.SIGINT else 0]


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    processes = start(is_busy, 1, str(tmp_path), MINUTE)
    wait_for((tmp_path / "ready").exists, processes)
    for number in (signal.SIGTERM, signal.SIGTERM):  # a scheduler may repeat itself
        os.kill(processes[0].pid, number)
        time.sleep(0.3)
        assert processes[0].is_alive()
    os.kill(processes[0].pid, signal.SIGINT)
    assert exit_codes(processes, MINUTE / 2) == [130]
