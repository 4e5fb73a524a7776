"""The folder of a run: config.yaml, metrics.jsonl, checkpoints/, evaluation.json, report.html."""

import os
import shutil
import signal
from datetime import datetime
from pathlib import Path

from lfiw.data.cache.manifest import check_column_name
from lfiw.errors import InputError
from lfiw.files import write_atomically, write_errors
from lfiw.processes import by_first_process
from lfiw.yaml_files import read_yaml

RUNS = Path("runs")
STOPPED = "stopped"  # by a signal: train.py resume= goes on
ENVIRONMENT = "LFIW_RUN_DIR"  # tells the processes that a run starts on its own where the run is
MADE_BEFORE_TRAINING = {"config.yaml", "metrics.jsonl", "seconds.json", "wandb", "wandb_id.txt", "csv"}


def create_run(experiment: str, seed: int, run_dir: str | None, config_text: str) -> Path:
    """Makes a run folder with its config.yaml; several processes of one run get the same.

    Args:
        run_dir: the folder; none: runs/<experiment>/<date>-<time>-s<seed>.

    Raises:
        InputError: the folder holds a run already or cannot be written, or its name has odd characters.
    """
    inherited = os.environ.get(ENVIRONMENT)
    if inherited:
        return Path(inherited)
    path = by_first_process(lambda: _new_folder(experiment, seed, run_dir, config_text))
    os.environ[ENVIRONMENT] = str(path.absolute())
    return path


def _new_folder(experiment: str, seed: int, run_dir: str | None, config_text: str) -> Path:
    path = Path(run_dir) if run_dir else RUNS / experiment / f"{datetime.now():%Y%m%d-%H%M%S}-s{seed}"
    try:
        check_column_name(f"log_ratio/{path.name}")
    except InputError as error:
        raise InputError(f"run_dir={path}: a run's name also names its log-ratio columns; {error}") from None
    path = _claim(path, may_rename=run_dir is None)
    write_atomically(path / "config.yaml", config_text)
    return path


def leave_run() -> None:
    """The next run of this process is another one."""
    os.environ.pop(ENVIRONMENT, None)


def discard_run(path: Path) -> None:
    """Takes away a run that ended by a mistake before it made anything: it would pass for the latest one."""
    if {entry.name for entry in path.iterdir()} <= MADE_BEFORE_TRAINING:
        shutil.rmtree(path)


def mark_stopped(path: Path, number: int | None) -> None:
    """Leaves `stopped` in the folder of a run that a signal has stopped, for scripts that start it again.

    Args:
        number: of the signal; none: the run goes on, or has just begun.
    """
    file = path / STOPPED
    if number is None:
        file.unlink(missing_ok=True)
    else:
        write_atomically(file, f"{signal.Signals(number).name}\n")


def _claim(path: Path, may_rename: bool) -> Path:
    """A new folder of that name, or of that name and a number where a run has it already."""
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(1000):
            candidate = path.with_name(f"{path.name}.{attempt}") if attempt else path
            if not (candidate / "config.yaml").exists():
                candidate.mkdir(exist_ok=True)
                return candidate
            if not may_rename:
                break
    raise InputError(f"{path} holds a run already: give another run_dir, or go on with resume={path}")


def latest_run(task: str | None = None) -> Path:
    """The run whose config.yaml was written last, of all experiments or of those with this task.

    Raises:
        InputError: there is none.
    """
    found = sorted(RUNS.glob("*/*/config.yaml"), key=lambda file: file.stat().st_mtime, reverse=True)
    chosen = next((file.parent for file in found if task in (None, task_of(file))), None)
    if chosen is None:
        kind = f" with task={task}" if task and found else ""
        raise InputError(f"no run{kind} in {RUNS}/: run train.py first, or give run=FOLDER")
    return chosen


def task_of(config: Path) -> str | None:
    """Name of the task in a run's config.yaml; none if it cannot be read."""
    try:
        task = read_yaml(config).get("task")
    except InputError:
        return None
    return task.get("name") if isinstance(task, dict) else None
