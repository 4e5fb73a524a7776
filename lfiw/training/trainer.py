"""The Lightning trainer of a run."""

import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.callbacks import (
    Callback,
    RichProgressBar,
    WeightAveraging,
)
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy, Strategy
from pytorch_lightning.trainer.states import TrainerStatus
from torch import Tensor

from lfiw.errors import InputError, first_line
from lfiw.schemas import Trainer as TrainerOptions
from lfiw.training.checkpoints import LAST, AtomicCheckpointIO, BestCheckpoint, LastCheckpoint, LogPosition, Patience
from lfiw.training.finite_loss import FiniteLoss

T = TypeVar("T")
MONITOR = "val/log_loss"
CHECKPOINTS = "checkpoints"
QUIET = (
    ".*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's use of torch
    ".*does not have many workers.*",  # memory-mapped samples load faster in the process itself
    ".*it is recommended to use `Trainer\\(devices=1.*",  # our samplers give every row once, with no duplicates
    ".*exists and is not empty.*",  # a resumed run
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


class MovingAverage(WeightAveraging):
    """Exponential moving average of the weights; validated and kept in their place.

    After t steps the decay is min(decay, (1 + t) / (10 + t)), so that the random weights of the start are soon
    forgotten (TensorFlow's ExponentialMovingAverage with num_updates). For modules that build their network in
    `setup`: the copy to average into is made after that.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=True, multi_avg_fn=self._average)
        self.decay, self._step = decay, 0

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        if step_idx is None:
            return False
        self._step = step_idx
        return True

    @torch.no_grad()
    def _average(self, averages: list[Tensor], current: list[Tensor], _: Tensor) -> None:
        if averages[0].is_floating_point():
            decay = min(self.decay, (1 + self._step) / (10 + self._step))
            torch._foreach_lerp_(averages, current, 1 - decay)
        else:  # numbers that count
            torch._foreach_copy_(averages, current)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        pl_module.setup(stage)
        super().setup(trainer, pl_module, stage)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._take_singular_vectors(pl_module)
        super().on_validation_epoch_start(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._take_singular_vectors(pl_module)
        super().on_train_end(trainer, pl_module)

    def _take_singular_vectors(self, pl_module: LightningModule) -> None:
        """A mean of unit vectors is shorter than 1: spectral norms with it would divide by too little, in every layer.

        Those of the current weights are near to those of the averaged ones.
        """
        if self._average_model is None:
            return
        sides = zip(self._average_model.module.named_buffers(), pl_module.buffers(), strict=True)
        for (name, average), current in sides:
            if "parametrizations" in name and name.rpartition(".")[2] in ("_u", "_v"):  # torch's spectral_norm
                average.copy_(current)


class ProgressBar(RichProgressBar):
    """Without the logger's version number, and for more than batches."""

    def track(self, items: Iterable[T], total: int, description: str) -> Iterator[T]:
        """A bar of its own while Lightning's is shown, for what is done at the end of an epoch."""
        if self.progress is None:
            yield from items
            return
        task = self.progress.add_task(description, total=total)
        for item in items:
            yield item
            self.progress.advance(task)
            self.refresh(hard=True)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}


def build_trainer(
    options: TrainerOptions,
    run_dir: Path,
    loggers: Sequence[Logger],
    *,
    checkpoints: Path | None = None,
    ema_decay: float = 0.0,
    callbacks: Sequence[Callback] = (),
    monitor: str | None = MONITOR,
    mode: str = "min",
) -> Trainer:
    """A trainer that keeps the best epoch (best.ckpt) and where it stands (last.ckpt), from where `fit` goes on.

    Args:
        monitor: another quantity that is to be low; none: the last epoch is kept, and nothing stops early.
        options: as in the configuration.
        run_dir: of the run.
        checkpoints: folder of the two checkpoints; none: the run's.
        ema_decay: of the moving average of the weights, 0 for none.
        monitor, mode: the best epoch has the lowest (min) or highest (max) value of this; none: only the last is kept.

    Raises:
        InputError: Lightning does not take an option's value, or the machine has no such device.
    """
    quiet()
    folder = checkpoints or run_dir / CHECKPOINTS
    # not save_last: it leaves out the epochs that are not the best so far, which a resumed run would train again
    own = [FiniteLoss(run_dir), LastCheckpoint(folder, options.checkpoint_steps), LogPosition()]
    kept: list[Callback] = [*own, *callbacks]
    if monitor:
        # both after validation and before last.ckpt is written, which knows of it
        best = BestCheckpoint(
            folder,
            filename="best",
            monitor=monitor,
            mode=mode,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )
        kept.insert(1, best)
        if options.patience:
            kept.append(
                Patience(
                    monitor, mode=mode, patience=options.patience, check_finite=True, check_on_train_epoch_end=False
                )
            )
    if ema_decay:
        kept.append(MovingAverage(decay=ema_decay))
    if options.progress:
        kept.append(ProgressBar())
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
            callbacks=kept,
            plugins=[AtomicCheckpointIO()],
            default_root_dir=run_dir,
            use_distributed_sampler=False,  # ours are distributed and give no row twice
            enable_model_summary=False,
            enable_progress_bar=options.progress,
            num_sanity_val_steps=0,
            log_every_n_steps=50,
        )
    except (ValueError, RuntimeError, TypeError, MisconfigurationException) as error:
        asked = ", ".join(
            f"{key}={getattr(options, key)}" for key in ("accelerator", "devices", "strategy", "precision")
        )
        raise InputError(f"trainer ({asked}): {first_line(error)} (trainer=default takes what there is)") from None
    skip_idle_hooks(trainer)
    # Lightning's answer to signals hangs: it runs collective operations in the handler, while others are under way, and
    # its loops stop one process without the others. Ours is `LastCheckpoint`.
    trainer._signal_connector.register_signal_handlers = nothing  # type: ignore[method-assign]
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = nothing  # type: ignore[method-assign]
    return trainer


def skip_idle_hooks(trainer: Trainer) -> None:
    """Callbacks are not asked in each step for hooks that they leave empty.

    Lightning enters a profiler's context for every hook of every callback that is callable, the empty ones too: of a
    small network's step, that is a tenth.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        for name in STEP_HOOKS:
            if getattr(getattr(callback, name), "__func__", None) is getattr(Callback, name):
                setattr(callback, name, None)


def nothing() -> None:
    """In place of what is not to happen."""


def _strategy(name: str) -> str | Strategy:
    # gradients live in the buckets that are reduced: one copy less a step
    return DDPStrategy(gradient_as_bucket_view=True) if name == "ddp" else name


def quiet() -> None:
    """Silence what Lightning says on each run without telling the user anything to act on."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in QUIET:
        warnings.filterwarnings("ignore", message)
    if not torch.cuda.is_available():
        # torch's optimizers ask for a GPU in every step; by NVML, which Lightning has chosen, that takes longer than a
        # step of a small network's optimizer where there is none
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"


def fit(
    trainer: Trainer,
    module: LightningModule,
    data: LightningDataModule,
    checkpoint: Path | None = None,
    monitor: str | None = MONITOR,
) -> None:
    """Train, from a checkpoint if one is given.

    Raises:
        Stopped: by a signal; last.ckpt is where the training stands.
        KeyboardInterrupt: Ctrl-C without `lfiw.training.stopping`; last.ckpt holds the last whole epoch.
        InputError: the loss became NaN or infinite (`lfiw.training.finite_loss`), or what is monitored did.
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
    """Where a resumed run goes on with the training whose checkpoints are in this folder; none: at its beginning."""
    file = folder / LAST
    return file if resume and file.exists() else None


def best_checkpoint(folder: Path) -> Path:
    """The checkpoint with the lowest validation log-loss.

    Raises:
        InputError: there is none yet.
    """
    file = folder / "best.ckpt"
    if not file.is_file():
        raise InputError(
            f"{folder} has no checkpoint: the run was stopped before its first epoch ended; train again, or go on "
            "with resume="
        )
    return file
