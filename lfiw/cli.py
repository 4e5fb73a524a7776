"""Runs scripts so that each ends with its result, or with one line that says what to mend."""

import argparse
import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from lfiw.errors import InputError
from lfiw.files import path_argument
from lfiw.training.stopping import Stopped, is_first_process

DEBUG = "--debug"
# How often an idle OpenMP thread of torch spins before it sleeps, unless the environment says otherwise; libgomp's own
# number is 300,000. On 2 cores, one train.py takes about 15.6 s with either; three at once 31 instead of 95 s.
SPINNING = {"GOMP_SPINCOUNT": "2000"}
COMMANDS = (
    "train",
    "evaluate",
    "cache_dataset",
    "cache_samples",
    "cache_features",
    "cache_rollouts",
    "export",
    "resample",
    "sample",
    "score",
    "train_policy",
)  # modules of lfiw.commands; installed as lfiw-train, lfiw-evaluate, lfiw-cache-dataset, …
# `python train.py`, `tools/score.py`; not a file of the user's, `mine/train.py` or `train.py:function`
SCRIPT = re.compile(rf"(?<![\w./-])(?:python )?(?:(train|evaluate)|tools/({'|'.join(COMMANDS)}))\.py\b(?!:\w)")


def as_started(text: str) -> str:
    """Names scripts in a text as this one was started: `lfiw-train` for `python train.py` in an installed package."""
    if not Path(sys.argv[0]).name.startswith("lfiw-"):
        return text
    text = text.replace("torchrun ", "torchrun --no-python ")
    return SCRIPT.sub(lambda found: f"lfiw-{(found[1] or found[2]).replace('_', '-')}", text)


class Parser(argparse.ArgumentParser):
    """Parses a tool's arguments and `--debug`; keeps the line breaks of its description.

    Mistakes in the arguments raise InputError, as all others do. Arguments with `type=Path` are read by
    `lfiw.files.user_path`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)
        self.register("type", Path, path_argument)
        self.add_argument(DEBUG, action="store_true", help="show the traceback of an error")

    def format_help(self) -> str:
        return as_started(super().format_help())

    def error(self, message: str) -> NoReturn:
        """Raises InputError."""
        raise InputError(f"{message} (see {self.prog} --help)")


def run_script(main: Callable[[list[str]], object], argv: Sequence[str] | None = None, *, resumes: bool = False) -> int:
    """Runs a script's main function → its exit code, for `sys.exit`.

    Args:
        main: takes the arguments without the script's name, `--debug` among them.
        argv: the arguments. If None, those of this process.
        resumes: running the same command again resumes it; the interrupt message says so.

    Returns:
        0, also if a scheduler has stopped a run that can be resumed; 2 after an `InputError`, printed as `error: …` on
        stderr (after its traceback with `--debug`); 130 if interrupted from the keyboard; 141 if the reader of its
        output has gone.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.update(SPINNING | os.environ)  # before anything imports torch
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as for stderr: file names may not be UTF-8
    try:
        main(arguments)
    except InputError as error:
        if DEBUG in arguments:
            traceback.print_exc()
        print(f"error: {as_started(' '.join(str(error).split()))}", file=sys.stderr)
        leave_processes(failed=True)
        return 2
    except Stopped as stopped:
        if DEBUG in arguments:
            traceback.print_exc()
        if is_first_process():
            print(as_started(str(stopped)), file=sys.stderr)
        leave_processes()
        return stopped.exit_code
    except BrokenPipeError:
        # the reader of the output, such as `head`, has gone: nothing must be flushed to it at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as a shell reports a process that SIGPIPE ends
    except KeyboardInterrupt:
        if DEBUG in arguments:
            traceback.print_exc()
        print("interrupted: run the same command again to resume" if resumes else "interrupted", file=sys.stderr)
        return 130
    leave_processes()
    return 0


def leave_processes(failed: bool = False) -> None:
    """Leaves the group of processes, if this script has joined one, without importing torch otherwise."""
    if "torch.distributed" in sys.modules:
        from lfiw.training.processes import leave_processes

        leave_processes(failed)
