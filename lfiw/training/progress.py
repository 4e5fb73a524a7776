"""How far a stage is: a bar where somebody watches a terminal, otherwise a line on stderr now and then."""

import re
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import rich
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar, RichProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from lfiw.training.stopping import is_first_process

T = TypeVar("T")
PERIOD = 30.0  # seconds between two lines


class Advance(Protocol):
    """Reports that `number` more are done; the note stands at the end of the line."""

    def __call__(self, number: int = 1, note: str = "") -> None: ...


class ProgressLines:
    """Prints how far a stage is, on stderr, at most once in `PERIOD` seconds: for logs and batch systems.

    `intervals: 3 of 6, 0.025 per second, 0:02:00 left`

    Args:
        stage: its name.
        total: how many there are to do. If None or infinite, unknown.
        unit: what is counted, in the plural.
        done: how many were done before; the rate leaves them out.
        clock: seconds since some moment.
    """

    def __init__(
        self,
        stage: str,
        total: float | None,
        unit: str = "",
        *,
        done: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stage, self.unit, self.clock = stage, f" {unit}" if unit else "", clock
        self.total = total if total is not None and 0 < total < float("inf") else None
        self.before = self.done = done
        self.started = self.printed = clock()

    def advance(self, number: int = 1, note: str = "") -> None:
        self.done += number
        now = self.clock()
        if now - self.printed >= PERIOD:
            self.printed = now
            print(self._line(now - self.started, note), file=sys.stderr, flush=True)

    def _line(self, seconds: float, note: str) -> str:
        rate = (self.done - self.before) / seconds
        parts = [f"{rate:,.0f} per second" if rate >= 10 else f"{rate:.2g} per second"]
        total = ""
        if self.total is not None:
            total = f" of {self.total:,.0f}"
            if rate:
                left = max(0.0, self.total - self.done) / rate
                parts.append(f"{timedelta(seconds=round(left))} left")
        return f"{self.stage}: {', '.join([f'{self.done:,}{total}{self.unit}', *parts, *filter(None, [note])])}"


@contextmanager
def reporting(stage: str, total: int | None, unit: str = "", *, shown: bool = True) -> Iterator[Advance]:
    """Yields a function to call as a stage advances; the first process of a run shows the progress.

    Args:
        shown: if False, nothing is shown.
    """
    if not (shown and is_first_process()):
        yield _nothing
    elif not is_watched():
        yield ProgressLines(stage, total, unit).advance
    else:
        columns = BarColumn(), MofNCompleteColumn(), SpeedColumn(""), TimeRemainingColumn()
        with Progress("{task.description}", *columns, "{task.fields[note]}", transient=True) as bar:
            task = bar.add_task(stage, total=total, note="")
            yield lambda number=1, note="": bar.update(task, advance=number, note=note)


def _nothing(number: int = 1, note: str = "") -> None:
    """Takes the place of a report."""


def with_progress(items: Collection[T], stage: str, *, shown: bool = True) -> Iterator[T]:
    """Yields the items, and reports how many are done."""
    with reporting(stage, len(items), shown=shown) as advance:
        for item in items:
            yield item
            advance()


def is_watched() -> bool:
    """Whether bars can be drawn: on a terminal or in a notebook."""
    console = rich.get_console()
    return console.is_interactive or console.is_jupyter


class SpeedColumn(TextColumn):
    """Shows how many are done per second so far."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.3g} per second" if task.speed else "")


class TerminalProgress(RichProgressBar):
    """Lightning's bar without the logger's version number, and for more than batches."""

    def track(self, items: Collection[T], stage: str) -> Iterator[T]:
        """Yields the items, with a bar of its own while Lightning's is shown: for what is done after the batches."""
        if self.progress is None:
            yield from items
            return
        task = self.progress.add_task(stage, total=len(items))
        for item in items:
            yield item
            self.progress.advance(task)
            self.refresh(hard=True)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}


class LoggedProgress(ProgressBar):
    """Prints the progress of a trainer's batches as lines, by its first process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.clock, self.enabled = clock, True
        self._training = self._evaluating = ProgressLines("", None, clock=clock)

    def disable(self) -> None:
        self.enabled = False

    def track(self, items: Collection[T], stage: str) -> Iterator[T]:
        """Yields the items, and reports how many are done: for what is done after the batches."""
        lines = self._lines(stage, len(items), "")
        for item in items:
            yield item
            self._advance(lines)

    def _lines(self, stage: str, total: float, unit: str = "batches", done: int = 0) -> ProgressLines:
        return ProgressLines(stage, total, unit, done=done, clock=self.clock)

    def _advance(self, lines: ProgressLines, note: str = "") -> None:
        if self.enabled:
            lines.advance(note=note)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        done = trainer.fit_loop.total_batch_idx + 1  # by the run that is resumed
        total = trainer.num_training_batches * (trainer.max_epochs or -1)
        self._training = self._lines("training", total, done=done)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._advance(self._training, f"epoch {trainer.current_epoch + 1} of at most {trainer.max_epochs}")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._evaluating = self._lines("validation", sum(trainer.num_val_batches))

    def on_validation_batch_end(self, *_: Any) -> None:
        self._advance(self._evaluating)

    def on_validation_end(self, *_: Any) -> None:
        self._training.printed = max(self._training.printed, self._evaluating.printed)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._evaluating = self._lines(name_of(pl_module), sum(trainer.num_test_batches))

    def on_test_batch_end(self, *_: Any) -> None:
        self._advance(self._evaluating)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._evaluating = self._lines(name_of(pl_module), sum(trainer.num_predict_batches))

    def on_predict_batch_end(self, *_: Any) -> None:
        self._advance(self._evaluating)


def name_of(module: LightningModule) -> str:
    """Returns the words of a class name: "feature extraction" for FeatureExtraction."""
    return " ".join(re.findall(r"[A-Z]+[^A-Z]*", type(module).__name__)).lower()


def trainer_progress() -> ProgressBar:
    """Returns the callback that reports a trainer's progress here: a bar or lines."""
    return TerminalProgress() if is_watched() else LoggedProgress()


def track_in(trainer: Trainer, items: Collection[T], stage: str) -> Iterable[T]:
    """Returns the items, whose progress the trainer's callback reports, if it has one of this file."""
    bar = trainer.progress_bar_callback
    return bar.track(items, stage) if isinstance(bar, TerminalProgress | LoggedProgress) else items
