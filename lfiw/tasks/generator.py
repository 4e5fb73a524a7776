"""Trains a generator on real images; `tools/cache_samples.py trained RUN` then puts its samples into a cache."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.loggers import Logger

from lfiw.cli import as_started
from lfiw.data import SampleCache
from lfiw.errors import InputError, first_line
from lfiw.evaluation.tables import number
from lfiw.features import FeatureOptions
from lfiw.files import write_json
from lfiw.generators.generative_module import HOMES, WEIGHTS, GenerativeModule, build_generative, checkpoint_of
from lfiw.generators.previews import FidOfSamples, SampleGrid
from lfiw.generators.real_images import RealDataModule
from lfiw.schemas import Config, RealData, Run
from lfiw.tasks.results import hardware
from lfiw.training.trainer import CHECKPOINTS, build_trainer, fit, last_checkpoint
from lfiw.untrusted import read_checkpoint
from lfiw.version import __version__

RECORD = "training.json"  # in the run folder: the training's outcome and cost
Outcome = tuple[dict[str, float], dict[str, Any]]


def run(config: Config, run_dir: Path, loggers: Sequence[Logger]) -> Outcome:
    """Trains, draws pictures and saves the weights.

    Returns:
        Metrics by name, and the objects that made them: trainer, generator, datamodule.

    Raises:
        InputError: options contradict each other, or training diverged.
    """
    datamodule, module = prepare(config)
    timer = Timer()  # checkpoints store it: a resumed run counts all its parts
    trainer = build_trainer(
        config.trainer,
        run_dir,
        loggers,
        ema_decay=config.optimizer.ema_decay,
        callbacks=[*previews(config, run_dir, loggers), timer],
        monitor=module.monitor,
    )
    fit(trainer, module, datamodule, last_checkpoint(run_dir / CHECKPOINTS, config.resume), module.monitor)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    generator = GenerativeModule.load(run_dir)
    if trainer.is_global_zero:
        generator.save(run_dir / WEIGHTS)
        record = {"version": __version__, "hardware": hardware(), "processes": trainer.world_size}
        record |= {"epochs": trainer.current_epoch, "seconds": timer.time_elapsed("train")}
        finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        write_json(run_dir / RECORD, {**record, "metrics": finite})
        draw = f"python tools/cache_samples.py trained {run_dir} --num-samples 10000 --out cache/{config.model.name}"
        print(as_started(draw))
    return metrics, {"trainer": trainer, "generator": generator, "datamodule": datamodule}


def evaluate(config: Config, run_dir: Path, loggers: Sequence[Logger]) -> Outcome:
    """Scores the saved epoch on the validation rows again. Returns as `run`."""
    datamodule, module = prepare(config)
    trainer = build_trainer(config.trainer, run_dir, loggers, monitor=None)
    file = checkpoint_of(run_dir)
    if not file.is_file():
        raise InputError(f"{run_dir} has no checkpoint: the run was stopped before its first epoch ended")
    try:
        module.load_state_dict(read_checkpoint(file, "cpu")["state_dict"])  # averaged, if there is an average
    except (KeyError, RuntimeError) as error:
        raise InputError(f"{file} is not of this configuration: {first_line(error)}") from None
    trainer.validate(module, datamodule=datamodule, verbose=False)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    if trainer.is_global_zero:
        print(*(f"{name} {number(value)}" for name, value in metrics.items()), sep="\n")
    return metrics, {"trainer": trainer, "generator": GenerativeModule.load(run_dir), "datamodule": datamodule}


def prepare(config: Config) -> tuple[RealDataModule, GenerativeModule]:
    """Builds data module and network."""
    check(config)
    data = asdict(config.data)
    del data["name"]
    datamodule = RealDataModule(SampleCache(data.pop("real")), **data, seed=config.seed)
    return datamodule, build_generative(asdict(config.model), datamodule.shape, asdict(config.optimizer), config.seed)


def previews(config: Config, run_dir: Path, loggers: Sequence[Logger]) -> list[Callback]:
    """Builds the callbacks that show how training goes."""
    task = config.task
    chosen: list[Callback] = []
    if task.grid:
        chosen.append(SampleGrid(run_dir / "samples", task.grid, task.grid_every, loggers))
    if task.fid_samples:
        options = FeatureOptions(**asdict(config.features))
        chosen.append(FidOfSamples(task.fid_extractor, options, task.fid_samples, task.grid_every))
    return chosen


def check(config: Config) -> None:
    """Raises InputError for options that do not fit the training of a generator."""
    if not isinstance(config.data, RealData):
        raise InputError(f"task=generator needs data=real, not data.name={config.data.name}")
    if config.model.name not in HOMES:
        raise InputError(f"task=generator needs model={', model='.join(HOMES)}, not model.name={config.model.name}")
    if config.calibration != "none" or config.folds * config.ensemble > 1 or config.weighting != Run().weighting:
        raise InputError(
            "task=generator trains no ratio: it takes calibration=none, folds=1, ensemble=1 and no weighting="
        )
    if config.model.name == "sngan" and config.trainer.gradient_clip:
        raise InputError("trainer.gradient_clip does not go with model=sngan, whose two networks step by turns")
    if config.model.name == "sngan" and config.trainer.strategy != "auto":
        raise InputError(
            f"trainer.strategy={config.trainer.strategy} does not go with model=sngan, which trains in one process"
        )
    if config.model.name == "sngan" and config.model.critic == "projected" and config.model.features is None:
        raise InputError(
            "model.critic=projected: set model.features to a ResNet-20, resnet20-….th of pytorch_resnet_cifar10"
        )
