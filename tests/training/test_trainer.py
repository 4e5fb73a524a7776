"""The trainer of a run: the time that it says is left, and which hooks of callbacks it calls."""

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import LambdaCallback
from trainings import ratio

from lfiw.schemas import Trainer as TrainerOptions
from lfiw.training import callbacks
from lfiw.training.callbacks import FiniteLoss
from lfiw.training.trainer import STEP_HOOKS, build_trainer, fit


class Counting(Callback):
    """A user's callback, which fills two hooks of a step."""

    def __init__(self) -> None:
        self.seen = {"on_after_backward": 0, "on_train_batch_end": 0}

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seen["on_after_backward"] += 1

    def on_train_batch_end(self, *_: Any) -> None:
        self.seen["on_train_batch_end"] += 1


def test_the_time_that_is_left_is_told_once_where_it_is_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A clock by which each epoch takes 30 s: three trainings of 2 epochs leave 5 epochs after the first, 150 s."""
    for trainings, told in ((3, 1), (1, 0)):
        ticks = itertools.count(step=30.0)
        monkeypatch.setattr(callbacks, "time", SimpleNamespace(perf_counter=lambda ticks=ticks: next(ticks)))
        time_left = callbacks.TimeLeft(trainings)
        for number in range(trainings):
            options = TrainerOptions(accelerator="cpu", max_epochs=2, progress=False)
            trainer = build_trainer(options, tmp_path / f"{trainings}-{number}", [], callbacks=[time_left])
            fit(trainer, *ratio())
        assert capsys.readouterr().out.count("about 2 more minutes at most, 30.0 s per epoch") == told


def test_only_empty_hooks_are_skipped(tmp_path: Path) -> None:
    counting = Counting()
    options = TrainerOptions(accelerator="cpu", max_epochs=1, progress=False)
    begun: list[int] = []
    function = LambdaCallback(on_train_batch_start=lambda *arguments: begun.append(arguments[-1]))
    trainer = build_trainer(options, tmp_path, [], callbacks=[counting, function])
    module, datamodule = ratio()
    fit(trainer, module, datamodule)
    steps = trainer.global_step
    assert steps > 1
    assert counting.seen == {"on_after_backward": steps, "on_train_batch_end": steps}
    assert begun == list(range(steps))
    left = {name for name in STEP_HOOKS if callable(getattr(counting, name))}
    assert left == set(counting.seen)
    finite = next(callback for callback in trainer.callbacks if isinstance(callback, FiniteLoss))
    assert [name for name in STEP_HOOKS if callable(getattr(finite, name))] == ["on_train_batch_end"]
