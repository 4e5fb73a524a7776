"""The Lightning trainer of a run."""

import errno
import logging
import os
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.io import CheckpointIO
from pytorch_lightning.strategies import DDPStrategy, Strategy
from pytorch_lightning.trainer.states import TrainerStatus

from lfiw.errors import InputError, first_line
from lfiw.files import replacing
from lfiw.schemas import Trainer as TrainerOptions
from lfiw.training.callbacks import (
    LAST,
    BestCheckpoint,
    BestWeights,
    FiniteLoss,
    LastCheckpoint,
    LogPosition,
    MovingAverage,
    Patience,
)
from lfiw.training.private import ignore_signals
from lfiw.training.progress import trainer_progress
from lfiw.untrusted import read_checkpoint

FREE_BYTES = 1 << 20  # with less free space, a disk counts as full
MONITOR = "val/log_loss"
CHECKPOINTS = "checkpoints"
QUIET = (
    ".*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's use of torch
    ".*does not have many workers.*",  # memory-mapped samples load faster in the process itself
    ".*it is recommended to use `Trainer\\(devices=1.*",  # our samplers return every row exactly once
    ".*exists and is not empty.*",  # a resumed run
    ".*Grad strides do not match bucket view strides.*",  # of channels-last convolutions: one small copy
    ".*GPU available but not used.*",  # trainer.accelerator=cpu is meant
    ".*TensorFloat32 tensor cores.*",  # see `exact_float32`
    ".*smaller than the logging interval.*",
)


STEP_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)


class AtomicCheckpointIO(CheckpointIO):
    """Writes beside the target, waits for the disk, and renames: a kill leaves the previous checkpoint intact.

    Lightning's own writer goes through the system's temporary folder and, if that is on another file system, overwrites
    the previous checkpoint in place. Reading runs no code from the file.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        write_checkpoint(checkpoint, path)

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        return read_checkpoint(path, map_location or "cpu")

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        Path(path).unlink(missing_ok=True)


def write_checkpoint(content: Any, path: str | os.PathLike[str]) -> None:
    """Writes a checkpoint, whole or not at all.

    Raises:
        InputError: the file system refuses.
    """
    with replacing(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # torch's writer raises no OSError; for a full disk it says “unexpected pos”
            if "inline_container" not in str(error):
                raise
            full = shutil.disk_usage(temporary.parent).free < FREE_BYTES
            number = errno.ENOSPC if full else errno.EIO
            raise OSError(number, os.strerror(number)) from error


def build_trainer(
    options: TrainerOptions,
    run_dir: Path | None,
    loggers: Sequence[Logger],
    *,
    checkpoints: Path | None = None,
    ema_decay: float = 0.0,
    callbacks: Sequence[Callback] = (),
    monitor: str | None = MONITOR,
    mode: str = "min",
) -> Trainer:
    """Builds a trainer that saves the best epoch (best.ckpt) and its current state (last.ckpt), which `fit` resumes.

    Args:
        options: as in the configuration.
        run_dir: of the run. If None, nothing is written: the module is left with the weights of the best epoch, and no
            moving average is taken.
        checkpoints: folder of the two checkpoints. If None, the run's.
        ema_decay: decay of the moving average of the weights. If 0, there is none.
        monitor, mode: the best epoch has the lowest (min) or highest (max) value of this. If None, only the last epoch
            is saved, and nothing stops early.

    Raises:
        InputError: Lightning does not accept an option's value, or the machine has no such device.
    """
    quiet()
    exact_float32()
    all_callbacks: list[Callback] = [FiniteLoss(run_dir), *callbacks]
    if run_dir is None:
        assert monitor is not None
        all_callbacks.append(BestWeights(monitor))
    else:
        folder = checkpoints or run_dir / CHECKPOINTS
        all_callbacks[1:1] = [LastCheckpoint(folder, options.checkpoint_steps), LogPosition()]
    if monitor:
        if run_dir is not None:
            # both run after validation, and before last.ckpt is written, which contains their state
            best = BestCheckpoint(
                folder,
                filename="best",
                monitor=monitor,
                mode=mode,
                save_on_train_epoch_end=False,
                enable_version_counter=False,
            )
            all_callbacks.insert(1, best)
        if options.patience:
            all_callbacks.append(
                Patience(
                    monitor, mode=mode, patience=options.patience, check_finite=True, check_on_train_epoch_end=False
                )
            )
    if ema_decay:
        all_callbacks.append(MovingAverage(decay=ema_decay))
    if options.progress:
        all_callbacks.append(trainer_progress())
    try:
        trainer = Trainer(
            accelerator=options.accelerator,
            devices=options.devices,
            num_nodes=options.num_nodes,
            strategy=_strategy(options.strategy),
            precision=options.precision,  # type: ignore[arg-type]
            max_epochs=options.max_epochs,
            gradient_clip_val=options.gradient_clip or None,
            deterministic=options.deterministic,
            logger=list(loggers),
            callbacks=all_callbacks,
            plugins=[AtomicCheckpointIO()],
            default_root_dir=run_dir,
            use_distributed_sampler=False,  # ours are distributed and return no row twice
            enable_model_summary=False,
            enable_progress_bar=options.progress,
            enable_checkpointing=run_dir is not None,
            num_sanity_val_steps=0,
            log_every_n_steps=50,
        )
    except (ValueError, RuntimeError, TypeError, MisconfigurationException) as error:
        given = ", ".join(
            f"{key}={getattr(options, key)}" for key in ("accelerator", "devices", "strategy", "precision")
        )
        raise InputError(f"trainer ({given}): {first_line(error)} (trainer=default takes what there is)") from None
    skip_idle_hooks(trainer)
    ignore_signals(trainer)
    return trainer


def skip_idle_hooks(trainer: Trainer) -> None:
    """Disables the step hooks that a callback leaves empty.

    Lightning enters a profiler's context for every callable hook of every callback, even empty ones: a tenth of a small
    network's step.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        for name in STEP_HOOKS:
            if getattr(getattr(callback, name), "__func__", None) is getattr(Callback, name):
                setattr(callback, name, None)


def _strategy(name: str) -> str | Strategy:
    # gradients live in the reduced buckets: one copy less per step
    return DDPStrategy(gradient_as_bucket_view=True) if name == "ddp" else name


def quiet() -> None:
    """Silences messages that Lightning prints in every run and no user can act on."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in QUIET:
        warnings.filterwarnings("ignore", message)
    if not torch.cuda.is_available():
        # torch's optimizers look for a GPU in every step; without one, doing so by NVML, which Lightning has chosen,
        # takes longer than a step of a small network's optimizer
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"


def exact_float32() -> None:
    """Keeps GPUs from rounding float32 to TF32's 10 bits, in matrix products as in convolutions, where torch's own
    default allows it.

    Float32 then gives the same on every device to about 1e-5. Speed comes from bfloat16, where it is asked for:
    trainer.precision=bf16-mixed, features.precision=bf16.
    """
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def fit(
    trainer: Trainer,
    module: LightningModule,
    data: LightningDataModule,
    checkpoint: Path | None = None,
    monitor: str | None = MONITOR,
) -> None:
    """Trains, from a checkpoint if one is given.

    Raises:
        Stopped: a signal arrived; last.ckpt holds the training's state.
        KeyboardInterrupt: Ctrl-C without `lfiw.training.stopping`; last.ckpt holds the last whole epoch.
        InputError: the loss (`lfiw.training.callbacks.FiniteLoss`) or the monitored value became NaN or infinite.
    """
    try:
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:
        # Lightning turns Ctrl-C into exit code 1
        if trainer.state.status == TrainerStatus.INTERRUPTED:
            raise KeyboardInterrupt from None
        raise
    loss = trainer.callback_metrics.get(monitor) if monitor else None
    if loss is not None and not torch.isfinite(loss):
        raise InputError(
            f"training ended at epoch {trainer.current_epoch} with {monitor}={loss.item()}: lower optimizer.lr"
        )


def last_checkpoint(folder: Path, resume: str | None) -> Path | None:
    """Returns the checkpoint that a resumed run continues from; None if the training starts anew."""
    file = folder / LAST
    return file if resume and file.exists() else None


def best_checkpoint(folder: Path) -> Path:
    """Returns the checkpoint with the lowest validation log-loss.

    Raises:
        InputError: there is none yet.
    """
    file = folder / "best.ckpt"
    if not file.is_file():
        raise InputError(
            f"{folder} has no checkpoint: the run was stopped before its first epoch ended; train again, or resume "
            "it with resume="
        )
    return file
