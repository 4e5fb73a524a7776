"""The folder of a run: config.yaml, metrics.jsonl, checkpoints/, evaluation.json, report.html."""

import contextlib
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_only

from lfiw.data.cache.manifest import check_column_name
from lfiw.errors import InputError
from lfiw.files import as_json, read_yaml, write_atomically, write_errors, write_json
from lfiw.training.processes import by_first_process

RUNS = Path("runs")
EVALUATION = "evaluation.json"
LONGEST_PART = 100  # characters in a column's name
STOPPED = "stopped"  # by a signal; train.py resume= resumes it
ENVIRONMENT = "LFIW_RUN_DIR"  # the run folder, for processes that the run starts itself
MADE_BEFORE_TRAINING = {"config.yaml", "metrics.jsonl", "seconds.json", "wandb", "wandb_id.txt", "csv"}


def create_run(experiment: str, seed: int, run_dir: str | None, config_text: str) -> Path:
    """Creates a run folder with its config.yaml; all processes of a run get the same one.

    Args:
        run_dir: the folder. If None, runs/<experiment>/<date>-<time>-s<seed>.

    Raises:
        InputError: the folder already holds a run or cannot be written, or its name has odd characters.
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


def column_part(run_dir: Path) -> str:
    """Returns the part of a column's name that identifies the run: its folder's name.

    If the folder was renamed to something that cannot name a column, odd characters are replaced.
    """
    name = run_dir.name
    try:
        return check_column_name(f"log_ratio/{name}").removeprefix("log_ratio/")
    except InputError:
        return (
            f"{re.sub('[^A-Za-z0-9_-]', '-', name)[:LONGEST_PART]}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}"
        )


def leave_run() -> None:
    """Forgets the current run, so that the next one in this process gets its own folder."""
    os.environ.pop(ENVIRONMENT, None)


def discard_run(path: Path) -> None:
    """Removes a run that failed before it made anything: it would be taken for the latest one."""
    if {entry.name for entry in path.iterdir()} <= MADE_BEFORE_TRAINING:
        shutil.rmtree(path)


def mark_stopped(path: Path, number: int | None) -> None:
    """Leaves `stopped` in the folder of a run that a signal has stopped, for scripts that start it again.

    Args:
        number: the signal's. If None, the run starts or resumes, and the file is removed.
    """
    file = path / STOPPED
    if number is None:
        file.unlink(missing_ok=True)
    else:
        write_atomically(file, f"{signal.Signals(number).name}\n")


def _claim(path: Path, may_rename: bool) -> Path:
    """Creates a folder of that name, or with a number appended if a run already has it."""
    with write_errors(path, "give run_dir=, a folder that you can write to"):
        path.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(1000):
            candidate = path.with_name(f"{path.name}.{attempt}") if attempt else path
            if not (candidate / "config.yaml").exists():
                candidate.mkdir(exist_ok=True)
                return candidate
            if not may_rename:
                break
    raise InputError(f"{path} holds a run already: give another run_dir, or resume it with resume={path}")


def keep_evaluation(run_dir: Path, record: Mapping[str, Any]) -> None:
    """Renames an earlier evaluation.json that differs from this record to evaluation-1.json, -2, …

    Its report.html goes with it, as report-1.html.

    Raises:
        InputError: the folder cannot be written.
    """
    file = run_dir / EVALUATION
    if not file.is_file():
        return
    earlier = file.read_bytes()
    if earlier == as_json(record):
        return
    number = next(n for n in itertools.count(1) if not (run_dir / f"evaluation-{n}.json").exists())
    write_atomically(run_dir / f"evaluation-{number}.json", earlier)
    with contextlib.suppress(FileNotFoundError):
        os.replace(run_dir / "report.html", run_dir / f"report-{number}.html")
    print(f"the earlier evaluation, which differs, is now {run_dir / f'evaluation-{number}.json'}")


def latest_run(task: str | None = None) -> Path:
    """Returns the run whose config.yaml was written last, among all runs or those with this task.

    Raises:
        InputError: there is none.
    """
    configs = sorted(RUNS.glob("*/*/config.yaml"), key=lambda file: file.stat().st_mtime, reverse=True)
    chosen = next((file.parent for file in configs if task in (None, task_of(file))), None)
    if chosen is None:
        kind = f" with task={task}" if task and configs else ""
        raise InputError(f"no run{kind} in {RUNS}/: run train.py first, or give run=FOLDER")
    return chosen


def task_of(config: Path) -> str | None:
    """Returns the task in a run's config.yaml; None if it cannot be read."""
    try:
        task = read_yaml(config).get("task")
    except InputError:
        return None
    return task.get("name") if isinstance(task, dict) else None


FILE = "seconds.json"


@contextlib.contextmanager
def timed(run_dir: Path, stage: str, *, resumed: bool = False) -> Iterator[None]:
    """Measures a stage that ends without an error; the first process saves the seconds in seconds.json.

    Args:
        resumed: an earlier process started the stage; the seconds are added to its.
    """
    started = time.perf_counter()
    yield
    seconds = time.perf_counter() - started
    if getattr(rank_zero_only, "rank", 0) == 0:
        measured = seconds_of(run_dir)
        total = seconds + (measured.get(stage, 0.0) if resumed else 0.0)
        write_json(run_dir / FILE, {**measured, stage: round(total, 2)})


def seconds_of(run_dir: Path) -> dict[str, float]:
    """Returns stage → seconds, in the order of their first run; empty if the run was not measured."""
    try:
        seconds = json.loads((run_dir / FILE).read_text())
    except (OSError, ValueError):
        return {}
    return seconds if isinstance(seconds, dict) else {}


Curve = tuple[list[float], list[float]]  # epochs, log-losses
VALIDATION, TRAINING = "val/log_loss", "train/loss"


def logged_losses(file: Path, metric: str) -> dict[str, Curve]:
    """Returns each classifier's curve by name; the name is empty if there is only one classifier.

    If an epoch was logged twice, as by a resumed run, the later value counts. Half-written lines of a killed run and
    values that are not numbers are skipped.

    Args:
        file: metrics.jsonl, which need not exist.
        metric: `VALIDATION` or `TRAINING`.
    """
    losses: dict[str, dict[float, float]] = defaultdict(dict)
    pattern = re.compile(rf"(?:(.+)/)?{re.escape(metric)}")
    for line in file.read_text().splitlines() if file.is_file() else ():
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            continue
        for key, value in values.items():
            match = pattern.fullmatch(key)
            epoch = epoch_of(values, match[1] or "") if match else None
            if match and epoch is not None and value is not None:
                losses[match[1] or ""][epoch] = value
    return {name: (sorted(points), [points[epoch] for epoch in sorted(points)]) for name, points in losses.items()}


def epoch_of(values: dict[str, float | None], name: str) -> float | None:
    """Returns the epoch of a line, counted from 1; members of an ensemble log their own."""
    epoch = values.get(f"{name}/epoch" if name else "epoch")
    return None if epoch is None else epoch + 1
