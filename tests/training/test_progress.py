"""How far a stage is: lines where there is no terminal, by a clock of the test's own."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import rich
import torch
from pytorch_lightning import LightningModule, Trainer
from rich.console import Console
from torch.utils.data import DataLoader
from trainings import ratio

from lfiw.schemas import Trainer as TrainerOptions
from lfiw.training import progress
from lfiw.training.progress import LoggedProgress, ProgressLines, TerminalProgress, reporting, track_in, with_progress
from lfiw.training.trainer import build_trainer, fit, quiet


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Ticking(Clock):
    """Each look at it takes a number of seconds."""

    def __init__(self, step: float) -> None:
        super().__init__()
        self.step = step

    def __call__(self) -> float:
        self.seconds += self.step
        return self.seconds


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    return lambda: capsys.readouterr().err.splitlines()


def test_a_line_says_how_many_are_done_how_fast_and_how_long_the_rest_takes(lines) -> None:
    """400 of 10,000 in 40 s are 10 per second: the other 9,600 take 960 s, 16 minutes."""
    clock = Clock()
    stage = ProgressLines("caching", 10_000, "samples", clock=clock)
    clock.seconds = 40.0
    stage.advance(400, "of class 3")
    assert lines() == ["caching: 400 of 10,000 samples, 10 per second, 0:16:00 left, of class 3"]


def test_what_a_stopped_run_had_done_does_not_count_as_speed(lines) -> None:
    """50 batches in 100 s, after 900 that were there: 0.5 per second, 50 left, 100 s."""
    clock = Clock()
    stage = ProgressLines("training", 1000, "batches", done=900, clock=clock)
    clock.seconds = 100.0
    stage.advance(50)
    assert lines() == ["training: 950 of 1,000 batches, 0.5 per second, 0:01:40 left"]


def test_there_is_at_most_one_line_in_30_seconds(lines) -> None:
    clock = Clock()
    stage = ProgressLines("caching", 10_000, clock=clock)
    printed = []
    for second in range(1, 101):
        clock.seconds = float(second)
        stage.advance()
        printed += [second] * len(lines())
    assert printed == [30, 60, 90]


@pytest.mark.parametrize("total", [None, float("inf"), 0])
def test_an_unknown_total_leaves_the_rate(lines, total: float | None) -> None:
    clock = Clock()
    stage = ProgressLines("training", total, clock=clock)
    clock.seconds = 30.0
    stage.advance(3)
    assert lines() == ["training: 3, 0.1 per second"]


def test_more_than_was_expected_is_not_a_negative_time(lines) -> None:
    clock = Clock()
    stage = ProgressLines("training", 10, clock=clock)
    clock.seconds = 30.0
    stage.advance(12)
    assert lines() == ["training: 12 of 10, 0.4 per second, 0:00:00 left"]


def use_terminal(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> None:
    monkeypatch.setattr(rich, "_console", Console(force_terminal=terminal, force_interactive=terminal, width=100))


def test_items_are_tracked_by_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch, lines) -> None:
    use_terminal(monkeypatch, terminal=False)
    monkeypatch.setattr(progress, "ProgressLines", lambda *a: ProgressLines(*a, clock=Ticking(20.0)))
    assert list(with_progress("abcd", "intervals")) == list("abcd")
    assert lines() == [  # looked at after 20, 40, 60 and 80 s
        "intervals: 2 of 4, 0.05 per second, 0:00:40 left",
        "intervals: 4 of 4, 0.05 per second, 0:00:00 left",
    ]


@pytest.mark.parametrize("other", ["shown=False", "another process"])
def test_nothing_is_reported_where_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch, capsys, other: str) -> None:
    if other == "another process":
        monkeypatch.setenv("RANK", "1")
    for terminal in (True, False):
        use_terminal(monkeypatch, terminal=terminal)
        monkeypatch.setattr(progress, "PERIOD", 0.0)
        with reporting("caching", 3, shown=other != "shown=False") as advance:
            advance()
        assert capsys.readouterr() == ("", "")


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    use_terminal(monkeypatch, terminal=True)
    with reporting("caching", 10, "samples") as advance:
        advance(4, "of class 3")
    out, err = capsys.readouterr()
    assert "4/10" in out
    assert "of class 3" in out
    assert not err


@pytest.mark.parametrize(("terminal", "kind"), [(True, TerminalProgress), (False, LoggedProgress)])
def test_a_trainer_reports_by_what_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path, terminal: bool, kind) -> None:
    use_terminal(monkeypatch, terminal=terminal)
    shown = build_trainer(TrainerOptions(accelerator="cpu"), tmp_path, [])
    assert type(shown.progress_bar_callback) is kind
    silent = build_trainer(TrainerOptions(accelerator="cpu", progress=False), tmp_path, [])
    assert silent.progress_bar_callback is None


class FeatureExtraction(LightningModule):
    """Stages of Lightning with nothing to compute; two items are left to do after a test."""

    def test_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        """Nothing to do with a batch."""

    def predict_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return batch

    def on_test_epoch_end(self) -> None:
        self.done = list(track_in(self.trainer, "ab", "scores"))


def bare_trainer(folder: Path, **options: Any) -> Trainer:
    quiet()
    return Trainer(accelerator="cpu", logger=False, enable_model_summary=False, enable_checkpointing=False,
                   default_root_dir=folder, **options)  # fmt: skip


def test_batches_and_what_follows_them_are_reported_by_lines(tmp_path: Path, lines) -> None:
    """A clock that each look at moves by 30 s: a line per batch, none at a stage's beginning."""
    trainer = bare_trainer(tmp_path, callbacks=[LoggedProgress(Ticking(30.0))])
    module, rows = FeatureExtraction(), DataLoader(torch.zeros(2, 1))
    trainer.predict(module, rows)
    assert lines() == [
        "feature extraction: 1 of 2 batches, 0.033 per second, 0:00:30 left",
        "feature extraction: 2 of 2 batches, 0.033 per second, 0:00:00 left",
    ]
    trainer.test(module, rows, verbose=False)
    assert [line.partition(",")[0] for line in lines()] == [
        "feature extraction: 1 of 2 batches",
        "feature extraction: 2 of 2 batches",
        "scores: 1 of 2",
        "scores: 2 of 2",
    ]
    assert module.done == ["a", "b"]


def test_training_counts_the_batches_of_all_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines) -> None:
    clock = Ticking(30.0)
    monkeypatch.setattr("lfiw.training.trainer.trainer_progress", lambda: LoggedProgress(clock))
    trainer = build_trainer(TrainerOptions(accelerator="cpu", max_epochs=2), tmp_path, [])
    fit(trainer, *ratio())
    steps = trainer.global_step
    training = [line for line in lines() if line.startswith("training")]
    assert [line.partition(",")[0] for line in training] == [
        f"training: {n} of {steps} batches" for n in range(1, steps + 1)
    ]
    assert training[0].endswith("epoch 1 of at most 2")
    assert training[-1].endswith("epoch 2 of at most 2")


def test_a_line_of_validation_puts_off_that_of_training(lines) -> None:
    """The two share the half minute."""
    clock = Clock()
    logged = LoggedProgress(clock)
    trainer = MagicMock(spec=Trainer)
    trainer.fit_loop = SimpleNamespace(total_batch_idx=-1)
    trainer.max_epochs, trainer.num_training_batches, trainer.num_val_batches = 1, 9, [2]
    module = FeatureExtraction()
    logged.on_train_start(trainer, module)
    logged.on_validation_start(trainer, module)
    clock.seconds = 35.0
    logged.on_validation_batch_end()
    logged.on_validation_end()
    clock.seconds = 40.0
    logged.on_train_batch_end(trainer)
    assert [line.partition(":")[0] for line in lines()] == ["validation"]


def test_the_end_of_an_epoch_has_a_bar(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Beside Lightning's own, with how many are done and the time that is left."""
    module = FeatureExtraction()
    trainer = bare_trainer(tmp_path, callbacks=[TerminalProgress()])
    trainer.test(module, DataLoader(torch.zeros(2, 1)), verbose=False)
    assert module.done == list("ab")
    text = capfd.readouterr().out
    assert "Testing" in text
    assert "scores" in text
    assert "2/2" in text


def test_where_no_bar_is_shown_all_is_done_the_same(tmp_path: Path) -> None:
    assert list(TerminalProgress().track([1, 2], "scores")) == [1, 2]
    assert list(track_in(bare_trainer(tmp_path, enable_progress_bar=False), [1, 2], "scores")) == [1, 2]
