"""Processes that wait for something that never comes, and learn of the others' deaths and signals all the same."""

import os
import signal
import time
from datetime import timedelta
from pathlib import Path

import pytest
from processes import exit_codes, join, leave, start, wait_for

from lfiw.training import processes as own
from lfiw.training.processes import GRACE, by_first_process, watch_processes
from lfiw.training.stopping import Stopped, stoppable

WORLD_SIZE = 3


def waits(rank: int, world_size: int, folder: str, silence: float = 180) -> None:
    """Until it is told to go; no collective operation would tell it of a death."""
    path = Path(folder)
    own.SILENCE = timedelta(seconds=silence)
    join(rank, world_size, path)
    try:
        with stoppable():
            watch_processes()
            watch_processes()  # once is enough
            by_first_process(lambda: None)
            (path / f"ready{rank}").touch()
            while not (path / f"go{rank}").exists():
                time.sleep(0.05)
    except Stopped as stopped:
        leave(stopped.exit_code)
    leave(0)


def dies_early(rank: int, world_size: int, folder: str, within: bool) -> None:
    """The second process, before it meets the others to watch or, with theirs begun, within."""
    join(rank, world_size, Path(folder))
    own.CONNECT = timedelta(seconds=2)
    if rank == 1 and within:
        own.distributed.new_group = lambda **_: os.kill(os.getpid(), signal.SIGKILL)
    elif rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    watch_processes()


def begin(folder, *options):
    found = start(waits, WORLD_SIZE, str(folder), *options)
    wait_for(lambda: all((folder / f"ready{rank}").exists() for rank in range(WORLD_SIZE)), found)
    return found


@pytest.fixture
def processes(tmp_path):
    return begin(tmp_path)


@pytest.mark.parametrize("dies", [1, pytest.param(0, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_a_death_ends_all(processes, dies):
    os.kill(processes[dies].pid, signal.SIGKILL)
    codes = exit_codes(processes, 2 * GRACE + 20)  # the first process sees it, its end is seen by the others
    assert codes.pop(dies) == -signal.SIGKILL
    assert codes == [1, 1]


@pytest.mark.parametrize("within", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_death_before_the_watch_ends_all(tmp_path, within):
    assert exit_codes(start(dies_early, WORLD_SIZE, str(tmp_path), within), 30) == [1, -signal.SIGKILL, 1]


@pytest.mark.slow
def test_a_silence_ends_all(tmp_path):
    """As of a machine that is gone: its connections stay open, and nothing comes."""
    processes = begin(tmp_path, 2.0)
    os.kill(processes[1].pid, signal.SIGSTOP)
    first, _, third = processes
    assert exit_codes([first, third], 2 * GRACE + 20) == [1, 1]
    processes[1].kill()
    processes[1].join()


@pytest.mark.parametrize("gets", range(WORLD_SIZE))
def test_a_signal_is_for_all(processes, gets):
    os.kill(processes[gets].pid, signal.SIGTERM)
    assert exit_codes(processes, GRACE) == [0] * WORLD_SIZE


def test_who_is_done_may_leave(tmp_path, processes):
    for rank in (1, 0, 2):
        (tmp_path / f"go{rank}").touch()
        processes[rank].join(20)
        assert processes[rank].exitcode == 0
        time.sleep(0.2)
        assert all(p.is_alive() for p in processes if p.exitcode is None)
