"""Processes that torchrun or SLURM started: they find one another before anything is written.

Those that Lightning starts by itself come later, from a first process that has prepared everything.
"""

import gc
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import distributed

from lfiw.errors import InputError
from lfiw.stopping import is_first_process
from lfiw.watch import leave_watch, watch_parent, watch_processes

T = TypeVar("T")


def join_processes() -> None:
    """Make one group of the processes of this run, if a launcher has started several. Lightning then uses it."""
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
    """Does the work in the first process of the group; all get what it returns, or its `InputError`."""
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
    """Ends the group, if there is one, while the interpreter still runs.

    One of gloo's threads may hold the last reference to a tensor that Python knows; dropping it after the interpreter
    has been finalised aborts the process ("terminate called without an active exception").

    Args:
        failed: the other processes are to end too.
    """
    if not failed:
        leave_watch()
    if distributed.is_initialized():
        distributed.destroy_process_group()
        gc.collect()  # what Lightning leaves in cycles keeps the group, and its threads, alive
