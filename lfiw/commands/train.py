"""Train a ratio classifier and score generated samples with its weights.

python train.py                                            digits: no download, about a minute
python train.py experiment=toy                             densities whose ratio is known
python train.py experiment=images data.real=DIR data.generated=DIR     two caches of your own images
python train.py trainer=ddp_cpu                            two processes
torchrun --nproc-per-node 2 train.py trainer.devices=2 trainer.strategy=ddp
python train.py resume=runs/digits/ID                      resume a run that was interrupted or killed
python train.py --help                                     all groups and keys
"""

from functools import partial
from pathlib import Path
from typing import Any

from lfiw.cli import DEBUG, as_started, run_script
from lfiw.config import Composed, compose, help_text, load, run_of
from lfiw.errors import InputError
from lfiw.training.stopping import stoppable


def compose_run(overrides: list[str]) -> tuple[Composed, Path | None]:
    """Composes the configuration; returns it and the folder of the run to resume, if any."""
    resume = run_of(overrides, "resume")
    if resume is None:
        return compose(overrides), None
    if any(o.startswith("run_dir=") for o in overrides):
        raise InputError(f"resume={resume} continues in its own folder: leave out run_dir=")
    return load(resume, overrides), resume


def train(overrides: list[str]) -> tuple[dict[str, float], dict[str, Any]]:
    """Composes the configuration, builds the run and runs it.

    Returns:
        The metrics by name, and the objects that made them.
    """
    composed, run_dir = compose_run(overrides)
    config = composed.config
    # these imports take seconds: only after the configuration is known to be valid
    import yaml
    from pytorch_lightning import seed_everything
    from pytorch_lightning.utilities import rank_zero_only

    from lfiw.files import check_writable
    from lfiw.tasks import find_task
    from lfiw.training.processes import join_processes
    from lfiw.training.run_folder import create_run, discard_run, leave_run, mark_stopped
    from lfiw.training.stopping import Stopped, requested
    from lfiw.training.tracking import build_loggers, finish

    join_processes()
    seed_everything(config.seed, workers=True, verbose=False)
    is_new = run_dir is None
    if run_dir is not None:
        check_writable(run_dir, "copy the run folder to where you can write, and resume the copy")
    else:
        run_dir = create_run(config.experiment, config.seed, config.run_dir, composed.text)
    loggers = build_loggers(
        config=yaml.safe_load(composed.text), run_dir=run_dir, resumed=not is_new, **vars(config.logger)
    )
    rank_zero_only(mark_stopped)(run_dir, None)
    rank_zero_only(print)(f"run folder: {run_dir}")
    try:
        result = find_task(config.task.name).run(config, run_dir, loggers)
    except BaseException as error:
        finish(loggers, failed=True)
        number = error.number if isinstance(error, Stopped) else requested()
        if number is not None:  # whatever the error: a stopped process breaks what others wait for
            rank_zero_only(mark_stopped)(run_dir, number)
            raise Stopped(number, run_dir) from None
        if is_new and isinstance(error, InputError):
            rank_zero_only(discard_run)(run_dir)
        raise
    finally:
        leave_run()
    finish(loggers)
    return result


def main(arguments: list[str]) -> None:
    overrides = [a for a in arguments if a not in (DEBUG, "--help", "-h")]
    if len(overrides) < len([a for a in arguments if a != DEBUG]):
        print(as_started(f"{__doc__}\n{help_text(overrides)}"))
        return
    with stoppable():
        train(overrides)


command = partial(run_script, main)
