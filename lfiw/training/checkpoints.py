"""Checkpoints that are whole or absent, and trainings that resume as if they had never stopped."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback, Checkpoint, EarlyStopping, ModelCheckpoint
from pytorch_lightning.plugins.io import CheckpointIO
from pytorch_lightning.trainer.states import TrainerFn
from torch import distributed

from lfiw.errors import InputError
from lfiw.files import replacing
from lfiw.training import stopping
from lfiw.training.processes import watch_processes
from lfiw.training.stopping import Stopped
from lfiw.training.tracking import JsonLines, find_json_lines
from lfiw.untrusted import read_checkpoint
from lfiw.weighting.calibration import Calibrator

FREE_BYTES = 1 << 20  # with less than that, a disk is full


class AtomicCheckpointIO(CheckpointIO):
    """Writes beside the target, waits for the disk and renames: a kill leaves the previous checkpoint.

    Lightning's own writer goes through the system's temporary folder and, where that is another file system, overwrites
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
        return read_checkpoint(path, map_location)

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        Path(path).unlink(missing_ok=True)


def write_checkpoint(content: Any, path: str | os.PathLike[str]) -> None:
    """Whole or not at all.

    Raises:
        InputError: the file system refuses.
    """
    with replacing(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # torch's writer knows no OSError: of a full disk it says “unexpected pos”
            if "inline_container" not in str(error):
                raise
            full = shutil.disk_usage(temporary.parent).free < FREE_BYTES
            number = errno.ENOSPC if full else errno.EIO
            raise OSError(number, os.strerror(number)) from error


def write_calibrator(file: Path, calibrator: Calibrator | None) -> None:
    """Keep a calibrator, as plain numbers, in the checkpoint of the classifier that it was fitted for.

    A kill leaves the checkpoint as it was.

    Raises:
        InputError: the file cannot be read or written.
    """
    checkpoint = read_checkpoint(file, "cpu")  # the machine that calibrates may lack the one's device that trained
    state = calibrator.state() if calibrator is not None else None
    if checkpoint["classifier"].get("calibrator") != state:
        checkpoint["classifier"]["calibrator"] = state
        write_checkpoint(checkpoint, file)


LAST = "last.ckpt"


class LastCheckpoint(Checkpoint):
    """Keeps where a training stands in last.ckpt: after each epoch's validation and, if asked, every so many steps.

    A signal stops the training after the step at hand, once that is kept; one that comes in the last step of an epoch
    or in validation, after validation.

    Args:
        folder: of the checkpoint.
        every_steps: also in the middle of an epoch, after so many steps; 0: not.
    """

    def __init__(self, folder: Path, every_steps: int = 0) -> None:
        self.file, self.every_steps = folder / LAST, every_steps

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        watch_processes()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # a schedule that asks for the number of steps has the loader made before Lightning knows its state
        trainer.fit_loop._load_combined_loader_states()
        stopping.defer(True)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        number = agreed_signal(trainer)
        # Lightning takes an epoch that was kept after its last step for over, and would not validate it
        if trainer.is_last_batch:
            return
        step = trainer.fit_loop.total_batch_idx + 1
        if number or (self.every_steps and step % self.every_steps == 0):
            trainer.save_checkpoint(self.file)
        if number:
            raise Stopped(number)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return
        trainer.save_checkpoint(self.file)
        if number := agreed_signal(trainer):
            raise Stopped(number)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        stopping.defer(False)
        if number := stopping.requested():
            raise Stopped(number)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        stopping.defer(False)


def agreed_signal(trainer: Trainer) -> int:
    """The signal that one of the processes got, the same in all of them; 0 if none did."""
    own = stopping.requested() or 0
    if trainer.world_size == 1:
        return own
    number = torch.tensor([own], device=trainer.strategy.root_device)
    distributed.all_reduce(number, distributed.ReduceOp.MAX)
    return int(number)


class BestCheckpoint(ModelCheckpoint):
    """The best epoch so far stays the best, wherever its folder has been moved, copied or linked to.

    Lightning keeps absolute paths, and forgets the best score where they are others than those of this training.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        assert self.dirpath is not None
        folder = Path(self.dirpath)

        def moved(file: str) -> str:
            return str(folder / Path(file).name) if file else file

        paths = {name: moved(state_dict[name]) for name in ("best_model_path", "kth_best_model_path")}
        scores = {moved(file): score for file, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": scores, "dirpath": self.dirpath})
        if self.best_model_path and not Path(self.best_model_path).is_file():
            raise InputError(
                f"{folder} has {LAST} but not {Path(self.best_model_path).name}, the best epoch so far: copy the whole "
                "run folder"
            )

    @property
    def state_key(self) -> str:
        """That of Lightning's class, as in checkpoints of earlier versions."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)


class Patience(EarlyStopping):
    """A training that had stopped early is still over when it is resumed, unless with more patience."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class LogPosition(Callback):
    """Keeps in checkpoints how long metrics.jsonl was; what a resumed training logs again is taken out first."""

    def __init__(self) -> None:
        self._log: tuple[JsonLines, str] | None = None
        self._kept: int | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._log = find_json_lines(trainer.loggers)

    def state_dict(self) -> dict[str, Any]:
        return {"position": self._log[0].position() if self._log else 0}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._kept = state_dict["position"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        unknown = trainer.ckpt_path is not None and self._kept is None
        if self._log is not None and trainer.is_global_zero and not unknown:
            log, prefix = self._log
            log.rewind(self._kept, prefix)
