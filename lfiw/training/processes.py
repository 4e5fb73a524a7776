"""The processes of a run: they join, wait for the first, and exit together if one dies."""

import atexit
import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import distributed

from lfiw.errors import InputError, first_line
from lfiw.training import stopping
from lfiw.training.stopping import is_first_process

GRACE = 5.0  # seconds for the main thread to end by itself, with a better message
PERIOD = 0.5  # seconds between two rounds of the watch
CONNECT = timedelta(seconds=30)
SILENCE = timedelta(minutes=3)  # after which a process's machine counts as lost
PARENT_SECONDS = 1.0

_watch: "Watch | None" = None
_watched = threading.Event()  # set once the processes watch one another: the parent need not be watched any longer


def watch_processes() -> None:
    """Starts to watch the other processes of the group, if there are any; all of them have to call this."""
    global _watch
    if _watch is None and distributed.is_initialized() and distributed.get_world_size() > 1:
        _watch = Watch()
        _watched.set()


def watch_parent() -> None:
    """Ends this process if its parent dies, until the processes watch one another."""
    parent = os.getppid()

    def look() -> None:
        while not _watched.wait(PARENT_SECONDS):
            if os.getppid() != parent:
                os._exit(1)

    threading.Thread(target=look, name="parent-watch", daemon=True).start()


def largest_of_processes(number: int) -> int:
    """Returns the largest of the processes' numbers; all of them have to call this.

    By way of their CPUs: asking the GPUs would mean waiting for all that they have still to do.
    """
    if _watch is None:
        return number
    largest = torch.tensor([number])
    distributed.all_reduce(largest, distributed.ReduceOp.MAX, _watch.numbers)
    return int(largest)


class Watch:
    """A thread that exchanges its state with the other processes' threads twice per second, in a group of their own.

    It notices a signal that one of them received, and a death, since gloo's connections close with a process. Launchers
    do less: torchrun does not pass on a signal that a single worker received, and Lightning's does not end the others
    if the first process dies. A timeout of `DDPStrategy` would also end processes that wait for the first one to fill
    a cache.
    """

    def __init__(self) -> None:
        # notices at once if a process has died; creating a group would wait for it
        distributed.all_gather_object([None] * distributed.get_world_size(), None)
        self._group: Any = distributed.new_group(backend="gloo", timeout=CONNECT)
        self.numbers: Any = distributed.new_group(backend="gloo")  # of the main threads
        self._ends = threading.Event()
        self._failed = False
        self._thread = threading.Thread(target=self._meet, name="process-watch", daemon=True)
        self._thread.start()
        atexit.register(self.leave, failed=True)  # no thread may return from gloo while the interpreter shuts down

    def leave(self, failed: bool = False) -> None:
        """Ends the watch: in this process alone if it failed, otherwise in all, without waiting for the others."""
        self._failed = failed
        self._ends.set()
        self._thread.join(GRACE / 2)

    def _meet(self) -> None:
        options = distributed.AllreduceOptions()
        options.reduceOp, options.timeout = distributed.ReduceOp.MAX, SILENCE
        done = False
        while not done:
            leaves = self._ends.wait(PERIOD)
            if self._failed:
                return
            state = torch.tensor([stopping.requested() or 0, int(leaves)])
            try:
                self._group.allreduce([state], options).wait()
            except RuntimeError as error:
                self._lost(error)
            number, done = state.tolist()
            if number:
                stopping.pass_on(number)

    def _lost(self, error: RuntimeError) -> None:
        """Ends this process too; not by an exception, since the main thread may be stuck in a collective operation."""
        distributed.destroy_process_group(self._group)  # each neighbour notices at once, and so on
        time.sleep(GRACE)
        number = stopping.requested()
        if number is not None:  # it ended for the same reason
            os._exit(stopping.exit_code_of(number))
        print(
            f"error: another process of the run has ended ({first_line(error)}): this one ends too; resume the run "
            "with resume=",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)


T = TypeVar("T")


def join_processes() -> None:
    """Joins the processes of this run into one group, which Lightning then uses, if a launcher started several."""
    if not is_first_process():
        watch_parent()
    for environment_class in (TorchElasticEnvironment, SLURMEnvironment):
        if environment_class.detect():
            environment = environment_class()
            if environment.world_size() > 1 and not distributed.is_initialized():
                distributed.init_process_group(
                    "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
                    init_method=f"tcp://{environment.main_address}:{environment.main_port}",
                    rank=environment.global_rank(),
                    world_size=environment.world_size(),
                )
                watch_processes()
            return


def by_first_process(work: Callable[[], T]) -> T:
    """Does the work in the group's first process; all processes get its result or its `InputError`."""
    if not distributed.is_initialized():
        return work()
    outcome: list[Any] = [None, None]
    if distributed.get_rank() == 0:
        try:
            outcome[0] = work()
        except InputError as error:
            outcome[1] = str(error)
    distributed.broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise InputError(outcome[1])
    result: T = outcome[0]
    return result


def leave_processes(failed: bool = False) -> None:
    """Destroys the group, if there is one, while the interpreter still runs.

    One of gloo's threads may hold the last reference to a Python tensor; dropping it after the interpreter has been
    finalised aborts the process ("terminate called without an active exception").

    Args:
        failed: end the other processes too.
    """
    global _watch
    if _watch is not None:
        _watch.leave(failed)
        _watch = None
    if distributed.is_initialized():
        distributed.destroy_process_group()
        gc.collect()  # reference cycles that Lightning leaves would keep the group and its threads alive
