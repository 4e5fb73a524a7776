"""The folder of a run: config.yaml, metrics.jsonl, checkpoints/, evaluation.json, report.html."""

import os
from datetime import datetime
from pathlib import Path

from lfiw.data.names import check_column_name
from lfiw.errors import InputError
from lfiw.files import write_atomically, write_errors

RUNS = Path("runs")
ENVIRONMENT = "LFIW_RUN_DIR"  # tells the processes that a run starts on its own where the run is


def create_run(experiment: str, seed: int, run_dir: str | None, config_text: str) -> Path:
    """Makes a run folder with its config.yaml.

    Several processes of one run agree on the folder: those that Lightning starts inherit it, those of torchrun or SLURM
    share the launcher's run id.

    Args:
        run_dir: the folder; none: runs/<experiment>/<date>-<time>-s<seed>.

    Raises:
        InputError: the folder holds a run already or cannot be written, or its name has odd characters.
    """
    inherited = os.environ.get(ENVIRONMENT)
    if inherited:
        return Path(inherited)
    name = _launcher_id() or f"{datetime.now():%Y%m%d-%H%M%S}"
    path = Path(run_dir) if run_dir else RUNS / experiment / f"{name}-s{seed}"
    try:
        check_column_name(f"log_ratio/{path.name}")
    except InputError as error:
        raise InputError(f"run_dir={path}: a run's name also names its log-ratio columns; {error}") from None
    if _launcher_rank() == 0:
        path = _claim(path, may_rename=run_dir is None and _launcher_id() is None)
        write_atomically(path / "config.yaml", config_text)
    os.environ[ENVIRONMENT] = str(path.absolute())
    return path


def leave_run() -> None:
    """The next run of this process is another one."""
    os.environ.pop(ENVIRONMENT, None)


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


def latest_run() -> Path:
    """The run whose config.yaml was written last, of all experiments.

    Raises:
        InputError: there is none.
    """
    found = sorted(RUNS.glob("*/*/config.yaml"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise InputError(f"no run in {RUNS}/: run train.py first, or give run=FOLDER")
    return found[-1].parent


def _launcher_id() -> str | None:
    """What torchrun or SLURM calls this run: the same in all of its processes."""
    run_id = os.environ.get("TORCHELASTIC_RUN_ID") or os.environ.get("SLURM_JOB_ID")
    if run_id == "none":  # torchrun's word for a run without an id: its port is all that its processes share
        return f"torchrun-{os.environ.get('MASTER_PORT', '0')}-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    return run_id


def _launcher_rank() -> int:
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")))
