"""Stops a training whose loss is no number any more, and says where to look."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lfiw.errors import InputError
from lfiw.files import write_json

FILE = "not_finite.json"
STEPS_UNREAD = 50  # on a GPU, or among several processes, where to read a loss is to wait


@runtime_checkable
class KnowsRows(Protocol):
    """A data set that can tell which rows of which tables a batch is made of."""

    def rows_of(self, batch: Any) -> list[dict[str, Any]]:
        """`table`, its path, and `rows`, numbers in it; one entry a table."""
        ...


class Step(NamedTuple):
    """One training step: where the training was after it, its loss (0-d), and its batch."""

    step: int
    epoch: int
    batch_number: int
    loss: Tensor
    batch: Any


class FiniteLoss(Callback):
    """Ends a training by an InputError at the first step whose loss is NaN or infinite.

    The rows of that batch are written to `not_finite.json` in the run's folder. A step that a gradient scaler skips has
    a finite loss, and is none of these. No checkpoint is written of a training that has ended so.

    A module whose optimization is manual returns its `loss` from `training_step`, for this.

    Args:
        folder: of the run.
        every: steps after which losses are read; none: at once on a CPU, after 50 on a GPU or with several processes,
            and before anything is kept of them.
    """

    def __init__(self, folder: Path, every: int | None = None) -> None:
        self.folder, self.every = folder, every
        self._unread: list[Step] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if not isinstance(loss, Tensor):
            return
        self._unread.append(Step(trainer.global_step, trainer.current_epoch, batch_idx, loss.detach(), batch))
        at_once = loss.device.type == "cpu" and trainer.world_size == 1
        if len(self._unread) >= (self.every or (1 if at_once else STEPS_UNREAD)):
            self._read(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._read(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._read(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.training:
            self._read(trainer)

    def _read(self, trainer: Trainer) -> None:
        if not self._unread:
            return
        steps, self._unread = self._unread, []
        wrong = ~torch.stack([step.loss for step in steps]).isfinite()
        first = torch.where(wrong.any(), wrong.int().argmax(), len(steps))  # of this process
        found = int(trainer.strategy.reduce(first, reduce_op="min"))  # of all processes
        if found == len(steps):
            return
        step = steps[found]
        own = bool(wrong[found])
        where = f"{step.step:,} (epoch {step.epoch}, batch {step.batch_number})"
        rows = f"the batch's rows are in {self._write(trainer, step)}: look for odd values there, or " if own else ""
        wider = "; bf16-mixed has a wider range than 16-mixed" if trainer.precision == "16-mixed" else ""
        raise InputError(
            f"training diverged at step {where}: the loss is {step.loss.item() if own else 'not finite elsewhere'}; "
            f"{rows}lower optimizer.lr{wider}"
        )

    def _write(self, trainer: Trainer, step: Step) -> Path:
        loader: Any = trainer.train_dataloader
        dataset = getattr(loader, "dataset", None)
        rank = f"-rank{trainer.global_rank}" if trainer.world_size > 1 else ""
        file = (self.folder / FILE).with_stem(Path(FILE).stem + rank)
        loss = step.loss.item()
        content = {
            "step": step.step,
            "epoch": step.epoch,
            "batch": step.batch_number,
            "loss": "nan" if math.isnan(loss) else str(loss),
            "rows": dataset.rows_of(step.batch) if isinstance(dataset, KnowsRows) else [],
        }
        write_json(file, content)
        return file
