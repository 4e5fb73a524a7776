"""Stopping a run by a signal: a training stops after its step, with a checkpoint; everything else stops at once."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)  # SLURM announces a job's end with USR1
SECONDS = 50.0  # from the signal to the end of the process, whatever it is doing


class Stopped(BaseException):
    """Raised when a signal stops the run; its work is saved, and `resume=` continues it.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int, run_dir: Path | None = None) -> None:
        what = "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"
        super().__init__(what if run_dir is None else f"{what}: resume with python train.py resume={run_dir}")
        self.number = number

    @property
    def exit_code(self) -> int:
        return exit_code_of(self.number)


_request: int | None = None  # the received signal
_active = False  # within `stoppable`
_deferred = False  # a training checks for the signal after each step


@contextmanager
def stoppable() -> Iterator[None]:
    """Makes SIGTERM, SIGUSR1 and Ctrl-C raise `Stopped` inside; a second Ctrl-C does not wait for a step.

    After the first signal, further ones are ignored: the process is about to end by itself.
    """
    global _request, _active, _deferred
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread receives signals
        return
    _request, _active, _deferred = None, True, False
    previous = {number: signal.signal(number, _handle) for number in SIGNALS}
    try:
        yield
    finally:
        _active = _deferred = False
        if _request is None:
            for number, handler in previous.items():
                signal.signal(number, handler)


def requested() -> int | None:
    """Returns the signal that is to stop this process, if one has arrived."""
    return _request


def pass_on(number: int) -> None:
    """Handles a signal that another process of the run received, unless this one is about to end."""
    if _active and _request is None:
        os.kill(os.getpid(), number)


def defer(later: bool) -> None:
    """Chooses what a signal does from now on: only set `requested` (later=True), or stop the process at once."""
    global _deferred
    _deferred = later


def exit_code_of(number: int) -> int:
    """Returns 0 if a scheduler stops the run and will resume it; 130 for Ctrl-C.

    Processes after the first end with 0: Lightning kills the first one when another has failed.
    """
    return 130 if number == signal.SIGINT and is_first_process() else 0


def is_first_process() -> bool:
    """Whether this is the run's first process, by the variables of torchrun, SLURM and Lightning's own launcher."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"))


def _handle(number: int, frame: FrameType | None) -> None:
    global _request
    if _request is None:
        _request = number
        timer = threading.Timer(SECONDS, _give_up, [number])
        timer.daemon = True
        timer.start()
        if not _deferred:
            raise Stopped(number)
    elif number == signal.SIGINT:
        raise Stopped(number)


def _give_up(number: int) -> None:
    """Ends a process whose main thread is blocked: checkpoints are whole, and the run resumes from the last one."""
    if _request is not None:
        print(f"still busy {SECONDS:g} seconds after the signal: ended as it is", file=sys.stderr, flush=True)
        os._exit(exit_code_of(number))
