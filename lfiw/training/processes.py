"""The processes of a run: they join, wait for the first, and exit together if one dies."""

import gc
import os
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import distributed

from lfiw.errors import InputError
from lfiw.training import stopping
from lfiw.training.stopping import is_first_process

GRACE = 5.0  # seconds that the main thread has to end by itself, with a better message
CONNECT_SECONDS = 60.0
PARENT_SECONDS = 1.0
LEAVING = 0  # a message is one byte: this, or the number of a signal
PROBES = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}  # a lost machine is noticed after 30 seconds

_watch: "Watch | None" = None
_watched = threading.Event()  # the connection stands: the parent need not be watched any more


def watch_processes() -> None:
    """Begin to watch the other processes of the group, if there are any; all of them have to call it."""
    global _watch
    if _watch is None and distributed.is_initialized() and distributed.get_world_size() > 1:
        _watch = Watch(distributed.get_rank(), distributed.get_world_size())
        _watched.set()


def leave_watch() -> None:
    """This process has done its work; the others go on."""
    global _watch
    if _watch is not None:
        _watch.leave()
        _watch = None


def watch_parent() -> None:
    """Until the processes watch one another, end with the process that has started this one."""
    parent = os.getppid()

    def look() -> None:
        while not _watched.wait(PARENT_SECONDS):
            if os.getppid() != parent:
                os._exit(1)

    threading.Thread(target=look, name="parent-watch", daemon=True).start()


class Watch:
    """The connections of one process, and the thread that reads from them."""

    def __init__(self, rank: int, world_size: int) -> None:
        self.world_size = world_size
        self._left = False
        self._selector = selectors.DefaultSelector()
        server = listening() if rank == 0 else None
        port = [server.getsockname()[1] if server else 0]
        distributed.broadcast_object_list(port)
        self._peers = self._accept(server) if server else self._connect(rank, port[0])
        for connection, peer in self._peers.items():
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in PROBES.items():
                if hasattr(socket, option):
                    connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
            self._selector.register(connection, selectors.EVENT_READ, peer)
        threading.Thread(target=self._listen, name="process-watch", daemon=True).start()
        stopping.listen(self.tell)

    def _accept(self, server: socket.socket) -> dict[socket.socket, int]:
        server.settimeout(CONNECT_SECONDS)
        peers: dict[socket.socket, int] = {}
        with server:
            while len(peers) < self.world_size - 1:
                connection, _ = server.accept()
                connection.settimeout(None)
                peers[connection] = int.from_bytes(connection.recv(4, socket.MSG_WAITALL), "big")
        return peers

    @staticmethod
    def _connect(rank: int, port: int) -> dict[socket.socket, int]:
        address = os.environ.get("MASTER_ADDR", "127.0.0.1")
        connection = socket.create_connection((address, port), timeout=CONNECT_SECONDS)
        connection.settimeout(None)
        connection.sendall(rank.to_bytes(4, "big"))
        return {connection: 0}

    def tell(self, message: int, but: socket.socket | None = None) -> None:
        """Sends a byte to all that this process is connected with."""
        for connection in list(self._peers):
            if connection is not but:
                try:
                    connection.sendall(bytes([message]))
                except OSError:  # it is gone, which the thread sees by itself
                    continue

    def leave(self) -> None:
        self._left = True
        stopping.unlisten(self.tell)
        self.tell(LEAVING)

    def _listen(self) -> None:
        while self._peers:
            for key, _ in self._selector.select():
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                try:
                    received = connection.recv(1)
                except OSError:
                    received = b""
                if received and received[0] != LEAVING:
                    self._stop(received[0], connection)
                    continue
                self._selector.unregister(connection)
                del self._peers[connection]
                connection.close()
                if not received and not self._left:
                    self._lost(key.data)

    def _stop(self, number: int, source: socket.socket) -> None:
        """A signal that another process got is one for this process and, by the first one, for all."""
        self.tell(number, but=source)
        stopping.pass_on(number)

    def _lost(self, peer: int) -> None:
        """The others end too. Not by an exception: the main thread may wait in a collective operation for ever."""
        time.sleep(GRACE)
        number = stopping.requested()
        if number is not None:  # it ended for the same reason
            os._exit(stopping.exit_code_of(number))
        print(
            f"error: process {peer} of {self.world_size} has ended: this one ends too; go on with resume=",
            file=sys.stderr,
            flush=True,
        )
        # the processes that Lightning has started lose their connection to this one, and end as well
        os._exit(1)


def listening() -> socket.socket:
    """At a port that the system chooses, for IPv6 too where there is that."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


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
