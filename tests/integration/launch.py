"""The scripts as a user starts them: a process of its own, a folder of its own."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from lfiw.cli import run_script

ROOT = Path(__file__).parents[2]
QUICK = [
    "trainer.progress=false",
    "evaluation.figures=false",
    "evaluation.exponents=[]",
    "evaluation.weightings=[]",
    "logger=none",
]
FROM_OUTSIDE = (
    "WANDB_",
    "LFIW_",
    "RANK",
    "LOCAL_",
    "WORLD_SIZE",
    "MASTER_",
    "NODE_RANK",
    "PL_",
    "SLURM_",
    "TORCHELASTIC_",
)


def environment(**more: str) -> dict[str, str]:
    """This process's, without what a test or a launcher has left in it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FROM_OUTSIDE)}
    return {**kept, **more}


def start(script: str, *arguments: object, cwd: Path, launcher: tuple[str, ...] = (), **more: str):
    return subprocess.Popen(
        [sys.executable, *launcher, str(ROOT / script), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment(**more),
    )


def launch(script: str, *arguments: object, cwd: Path, timeout: float = 240, **more):
    """(exit code, stdout, stderr)."""
    process = start(script, *arguments, cwd=cwd, **more)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, out, err


def stop_when(process, ready: Callable[[], bool], number: signal.Signals, timeout: float = 120) -> tuple[str, str]:
    """Sends a signal as soon as something is there → (stdout, stderr)."""
    deadline = time.monotonic() + timeout
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    return process.communicate(timeout=60)


def module(script: str) -> ModuleType:
    """A script as a module, for calls in this process."""
    spec = importlib.util.spec_from_file_location(Path(script).stem + "_script", ROOT / script)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def refused(capfd, script: str, *arguments: object, exit_code: int = 2) -> str:
    """Runs with a mistake, in this process → the one line that says so."""
    capfd.readouterr()
    assert run_script(module(script).main, [str(a) for a in arguments]) == exit_code
    told = capfd.readouterr().err
    assert told.startswith("error: "), told
    assert told.count("\n") == 1, told
    return told.removeprefix("error: ").strip()
