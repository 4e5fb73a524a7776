"""Score a trained run again: other weightings, extractors or metrics, from its cached log-ratios and features.

python evaluate.py                                                  the latest run, as it was configured
python evaluate.py runs/digits/ID                                   this run; also as run=runs/digits/ID
python evaluate.py runs/digits/ID evaluation.paper=true             also by the definitions of the paper's official code
python evaluate.py 'evaluation.weightings=[{name: half, flatten: 0.5}]'
python evaluate.py compare=runs/digits/A,runs/digits/B              scores of several runs side by side, on one page
"""

from functools import partial
from typing import Any

from lfiw.cli import DEBUG, as_started, run_script
from lfiw.config import load, run_of
from lfiw.errors import InputError


def evaluate(overrides: list[str]) -> tuple[dict[str, float], dict[str, Any]]:
    """Loads the run's configuration, scores, and writes evaluation.json and report.html.

    Returns:
        The metrics by name, and the objects that made them.

    Raises:
        InputError: no such run, or it did not get far enough to be scored.
    """
    from lfiw.training.run_folder import latest_run

    overrides = with_run(overrides)
    compared = next((o.partition("=")[2] for o in overrides if o.startswith("compare=")), None)
    if compared is not None:
        return {}, compare_runs(compared, overrides)
    run_dir = run_of(overrides, "run") or latest_run()
    composed = load(run_dir, [o for o in overrides if not o.startswith("run=")])
    config = composed.config
    import yaml
    from pytorch_lightning.utilities import rank_zero_only

    from lfiw.files import check_writable
    from lfiw.tasks import find_task
    from lfiw.training.processes import join_processes
    from lfiw.training.tracking import build_loggers, finish

    join_processes()
    check_writable(run_dir, "copy the run folder to where you can write, and give run=COPY")
    loggers = build_loggers(config=yaml.safe_load(composed.text), run_dir=run_dir, **vars(config.logger))
    rank_zero_only(print)(f"run folder: {run_dir}")
    try:
        return find_task(config.task.name).evaluate(config, run_dir, loggers)
    finally:
        finish(loggers)


def with_run(arguments: list[str]) -> list[str]:
    """Reads a run folder given by itself as `run=FOLDER`.

    Raises:
        InputError: two runs are given.
    """
    named = [a if "=" in a or a.startswith("-") else f"run={a}" for a in arguments]
    runs = [a.removeprefix("run=") for a in named if a.startswith("run=")]
    if len(runs) > 1:
        raise InputError(
            f"{' and '.join(runs)}: one run at a time; compare={','.join(runs)} shows several side by side"
        )
    return named


def compare_runs(paths: str, overrides: list[str]) -> dict[str, Any]:
    """Compares the existing scores of several runs; nothing is scored again.

    Args:
        paths: run folders, separated by commas.

    Raises:
        InputError: as `lfiw.evaluation.comparison.compare`, or there are other keys.
    """
    from lfiw.evaluation.comparison import compare

    if len(overrides) > 1:
        other = next(o for o in overrides if o != f"compare={paths}")
        raise InputError(f"compare= shows existing scores and takes no {other}: score a run again with run=")
    runs, page = compare(paths.split(","))
    return {"records": [run.record.to_json() for run in runs], "page": page}


def main(arguments: list[str]) -> None:
    if {"--help", "-h"} & set(arguments):
        print(as_started(f"{__doc__}\nAll keys: python train.py --help"))
        return
    evaluate([a for a in arguments if a != DEBUG])


command = partial(run_script, main)
