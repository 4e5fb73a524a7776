"""Train a data augmentation GAN on source characters and keep its generator."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from lfiw.data import SampleCache
from lfiw.errors import InputError
from lfiw.schemas import Config, DrawingSetsData
from lfiw.tasks.augmentation.dagan import DaGan
from lfiw.tasks.augmentation.dagan_drawings import save_generator
from lfiw.tasks.augmentation.drawing_sets import DrawingSetsDataModule
from lfiw.training import tracking
from lfiw.training.trainer import CHECKPOINTS, build_trainer, fit, last_checkpoint

GENERATOR = "generator.safetensors"
GRIDS = "grids"


def run(config: Config, run_dir: Path, loggers: Sequence[Logger]) -> tuple[dict[str, float], dict[str, Any]]:
    """Train; write generator.safetensors.

    Returns:
        What the training logged last, and the objects that made it: trainer, module, datamodule.

    Raises:
        InputError: options that do not go together, or a cache that cannot be read.
    """
    if not isinstance(config.data, DrawingSetsData):
        raise InputError(f"task=dagan needs data=sets, not {config.data.name}")
    if config.optimizer.schedule != "constant" or config.optimizer.compile or config.optimizer.weight_decay:
        raise InputError("task=dagan takes optimizer.schedule=constant, compile=false and weight_decay=0")
    if config.trainer.patience or config.trainer.gradient_clip:
        raise InputError("task=dagan has no loss to stop by: it takes trainer.patience=0 and gradient_clip=0")
    options = asdict(config.data)
    cache = options.pop("cache")
    del options["name"]
    task = asdict(config.task)
    del task["name"]
    datamodule = DrawingSetsDataModule(SampleCache(cache), set_size=config.task.set_size, seed=config.seed, **options)
    module = DaGan(
        datamodule.image_shape,
        lr=config.optimizer.lr,
        ema_decay=config.optimizer.ema_decay,
        seed=config.seed,
        grids=run_dir / GRIDS,
        **task,
    )
    trainer = build_trainer(config.trainer, run_dir, loggers, monitor=None)
    if trainer.world_size > 1:
        raise InputError("task=dagan trains in one process: trainer.devices=1 trainer.num_nodes=1")
    fit(trainer, module, datamodule, last_checkpoint(run_dir / CHECKPOINTS, config.resume))
    save_generator(run_dir / GENERATOR, module.average, module.generator_options)
    print(f"{run_dir / GENERATOR}: for tools/cache_samples.py dagan --checkpoint")
    grids = sorted((run_dir / GRIDS).glob("*.png"))
    tracking.log_pictures(loggers, {"dagan/drawings": grids[-1]} if grids else {})
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return metrics, {"trainer": trainer, "module": module, "datamodule": datamodule}


def evaluate(config: Config, run_dir: Path, loggers: Sequence[Logger]) -> tuple[dict[str, float], dict[str, Any]]:
    """Nothing to score by itself.

    Raises:
        InputError: always, naming what scores generated drawings.
    """
    raise InputError(
        f"{run_dir} trained a generator: put its drawings into a cache (tools/cache_samples.py dagan) and score those "
        "with experiment=images or experiment=omniglot"
    )
