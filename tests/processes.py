"""Processes of a test as one group, over gloo, each with one thread."""

import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import distributed

TESTS = Path(__file__).parent


def join(rank: int, world_size: int, folder: Path) -> None:
    """Makes the group, and tells Lightning of it; the folder is for the processes to find one another."""
    torch.set_num_threads(1)
    if world_size == 1:
        return
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT="0", NODE_RANK="0", LOCAL_RANK=str(rank), WORLD_SIZE=str(world_size)
    )
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world_size)


def start(target: Callable[..., None], world_size: int, *arguments: Any) -> list[Any]:
    """`target(rank, world_size, *arguments)` in processes that are forked from one that has imported everything."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trainings"])
    processes = [context.Process(target=target, args=(rank, world_size, *arguments)) for rank in range(world_size)]
    for process in processes:
        process.start()
    return processes


def exit_codes(processes: Sequence[Any], seconds: float) -> list[int]:
    """Waits for all of them; whatever is still there is killed, and an error."""
    deadline = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    late = [rank for rank, process in enumerate(processes) if process.is_alive()]
    for process in processes:
        process.kill()
        process.join()
    assert not late, f"processes {late} had not ended after {seconds} seconds"
    return [process.exitcode for process in processes]


def wait_for(there: Callable[[], bool], processes: Sequence[Any], seconds: float = 60) -> None:
    """Until something is there; an error if a process ends before."""
    deadline = time.monotonic() + seconds
    while not there():
        assert all(process.is_alive() for process in processes), [process.exitcode for process in processes]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def free_port() -> int:
    """One that nobody listens at; another process may take it before it is used."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def leave(exit_code: int) -> None:
    """Ends this process with an exit code, after the group."""
    from lfiw.training.processes import leave_processes

    leave_processes(failed=exit_code not in (0, 130))
    sys.exit(exit_code)
