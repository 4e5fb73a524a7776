"""Callbacks of a training: checkpoints to resume from, the moving average, the check that losses are finite."""

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback, Checkpoint, EarlyStopping, ModelCheckpoint, WeightAveraging
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lfiw.errors import InputError
from lfiw.files import write_json
from lfiw.training import stopping
from lfiw.training.private import average_of, restore_loaders
from lfiw.training.processes import largest_of_processes, watch_processes
from lfiw.training.stopping import Stopped
from lfiw.training.tracking import JsonLines, find_json_lines

LAST = "last.ckpt"


class LastCheckpoint(Checkpoint):
    """Saves the state of a training in last.ckpt: after each epoch's validation and every `every_steps` steps.

    A signal stops the training once the current step is saved; if it arrives in the last step of an epoch or during
    validation, after validation. Lightning's `ModelCheckpoint` does not promise this: `save_last` skips epochs that are
    not the best, which would be trained again; `every_n_train_steps` excludes `every_n_epochs` and saves after an
    epoch's last step, from which a training resumes without validating; `save_on_exception` also saves a training that
    has diverged.

    Args:
        folder: of the checkpoint.
        every_steps: steps between two checkpoints within an epoch. If 0, there are none.
    """

    def __init__(self, folder: Path, every_steps: int = 0) -> None:
        self.file, self.every_steps = folder / LAST, every_steps

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        watch_processes()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        restore_loaders(trainer)
        stopping.defer(True)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        number = agreed_signal(trainer)
        # Lightning would take an epoch saved after its last step as finished, and would not validate it
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
    """Returns the signal that one of the processes received, the same in all of them; 0 if there was none."""
    own = stopping.requested() or 0
    return own if trainer.world_size == 1 else largest_of_processes(own)


class BestCheckpoint(ModelCheckpoint):
    """Remembers the best epoch of a resumed run, even if the run's folder was moved, copied or linked.

    Lightning stores absolute paths, and forgets the best score if they differ from this training's.
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
        """Lightning's own key, as in checkpoints of earlier versions."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)


class BestWeights(Callback):
    """Keeps the best epoch's weights in memory and loads them into the module at the end; writes nothing.

    Args:
        monitor: the best epoch has the lowest value of this.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor, self.lowest = monitor, math.inf
        self.weights: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        value = float(trainer.callback_metrics[self.monitor])
        if trainer.state.fn == TrainerFn.FITTING and value < self.lowest:
            self.lowest = value
            self.weights = {name: weights.clone() for name, weights in pl_module.state_dict().items()}

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.weights:
            pl_module.load_state_dict(self.weights)


class Patience(EarlyStopping):
    """Early stopping that lasts: a resumed training that had stopped early ends at once, unless patience has grown."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class LogPosition(Callback):
    """Stores the length of metrics.jsonl in checkpoints; a resumed training first removes what it will log again."""

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


class TimeLeft(Callback):
    """Prints once, after the first epoch, how long training will take at most, if that is more than a minute.

    Args:
        trainings: how many trainings of this length share this callback, one after another.
    """

    def __init__(self, trainings: int = 1) -> None:
        self.trainings = trainings
        self._started: float | None = None
        self._printed = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._printed or self._started is None or trainer.max_epochs is None:
            return
        self._printed = True
        seconds = time.perf_counter() - self._started  # of training and validation
        minutes = seconds * (trainer.max_epochs * self.trainings - trainer.current_epoch - 1) / 60
        if minutes > 1:
            rank_zero_only(print)(
                f"training takes about {minutes:,.0f} more minutes at most, {seconds:.1f} s per epoch"
            )

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.trainings -= 1


class MovingAverage(WeightAveraging):
    """Keeps an exponential moving average of the weights, which is validated and saved in their place.

    After t steps the decay is min(decay, (1 + t) / (10 + t)), so that the random weights of the start are soon
    forgotten (TensorFlow's ExponentialMovingAverage with num_updates); Lightning's `EMAWeightAveraging` has one decay
    for all steps. For modules that build their network in `setup`: the copy to average into is made after that, on the
    device that trains.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=True)
        self.decay, self._step = decay, 0
        self._is_empty: bool | None = None  # read from the average at the first step

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        if step_idx is None:
            return False
        self._step = step_idx
        return True

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        pl_module.setup(stage)
        pl_module.to(trainer.strategy.root_device)  # Lightning would do so only after this, and average on the CPU
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            average = average_of(self)
            # torch's own reads the average's counter, and so waits for the GPU, in every step
            average.update_parameters = partial(self._update, average)  # type: ignore[method-assign]

    @torch.no_grad()
    def _update(self, average: AveragedModel, module: LightningModule) -> None:
        if self._is_empty is None:
            self._is_empty = not average.n_averaged
        averages = [*average.module.parameters(), *average.module.buffers()]
        currents = [*module.parameters(), *module.buffers()]
        by_dtype: dict[torch.dtype, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for pair in zip(averages, currents, strict=True):
            by_dtype[pair[0].dtype].append(pair)
        blend = get_ema_multi_avg_fn(min(self.decay, (1 + self._step) / (10 + self._step)))
        for dtype, pairs in by_dtype.items():
            if dtype.is_floating_point and not self._is_empty:
                blend([old for old, _ in pairs], [new for _, new in pairs], 0)
            else:  # counters, and the first step
                for old, new in pairs:
                    old.copy_(new)
        average.n_averaged += 1
        self._is_empty = False

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with own_singular_vectors(pl_module):
            super().on_validation_epoch_start(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with own_singular_vectors(pl_module):
            super().on_train_end(trainer, pl_module)


@contextmanager
def own_singular_vectors(module: LightningModule) -> Iterator[None]:
    """Keeps the singular vectors of a module's spectral norms while other weights are loaded into it.

    A mean of unit vectors is shorter than 1: with it, every layer's spectral norm would be too small. The vectors of
    the current weights are close to those of the averaged ones.
    """
    vectors = {
        buffer: buffer.clone()
        for name, buffer in module.named_buffers()
        if "parametrizations" in name and name.endswith(("._u", "._v"))  # torch's spectral_norm
    }
    yield
    for buffer, kept in vectors.items():
        buffer.copy_(kept)


FILE = "not_finite.json"
STEPS_UNREAD = 50  # on a GPU or with several processes, where reading a loss means waiting


@runtime_checkable
class KnowsRows(Protocol):
    """A data set that knows which rows of which tables a batch consists of."""

    def rows_of(self, batch: Any) -> list[dict[str, Any]]:
        """Returns one entry per table: `table`, its path, and `rows`, the row numbers in it."""
        ...


class Step(NamedTuple):
    """One training step: its place in the training, its loss (0-d), and its batch without the samples."""

    step: int
    epoch: int
    batch_number: int
    loss: Tensor
    batch: Any


class FiniteLoss(Callback):
    """Ends a training with an InputError at the first step whose loss is NaN or infinite.

    The rows of that batch are written to `not_finite.json` in the run's folder, if there is one. A step that a gradient
    scaler skips has a finite loss and does not count. No checkpoint is written after such a step.

    A module with manual optimisation has to return its `loss` from `training_step`.

    Args:
        folder: of the run. If None, nothing is written.
        every: steps after which losses are read. If None, each step on a CPU; every 50 on a GPU or with several
            processes, and before anything is saved.
    """

    def __init__(self, folder: Path | None, every: int | None = None) -> None:
        self.folder, self.every = folder, every
        self._unread: list[Step] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if not isinstance(loss, Tensor):
            return
        named = batch
        if isinstance(batch, Mapping):  # samples would fill a GPU's memory, and say nothing of which rows they are
            named = {name: v for name, v in batch.items() if not isinstance(v, Tensor) or v.dtype == torch.int64}
        self._unread.append(Step(trainer.global_step, trainer.current_epoch, batch_idx, loss.detach(), named))
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
        own_first = torch.where(wrong.any(), wrong.int().argmax(), len(steps))
        first = int(trainer.strategy.reduce(own_first, reduce_op="min"))  # over all processes
        if first == len(steps):
            return
        step = steps[first]
        own = bool(wrong[first])
        where = f"{step.step:,} (epoch {step.epoch}, batch {step.batch_number})"
        rows = ""
        if own and self.folder is not None:
            rows = f"the batch's rows are in {self._write(self.folder, trainer, step)}: look for odd values there, or "
        wider = "; bf16-mixed has a wider range than 16-mixed" if trainer.precision == "16-mixed" else ""
        raise InputError(
            f"training diverged at step {where}: the loss is {step.loss.item() if own else 'not finite elsewhere'}; "
            f"{rows}lower optimizer.lr{wider}"
        )

    def _write(self, folder: Path, trainer: Trainer, step: Step) -> Path:
        loader: Any = trainer.train_dataloader
        dataset = getattr(loader, "dataset", None)
        rank = f"-rank{trainer.global_rank}" if trainer.world_size > 1 else ""
        file = (folder / FILE).with_stem(Path(FILE).stem + rank)
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
