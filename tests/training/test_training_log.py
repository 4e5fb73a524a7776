"""The means of an epoch, and curves out of metrics.jsonl."""

import json
from pathlib import Path

import pytest
import torch

from lfiw.training.run_folder import TRAINING, VALIDATION, logged_losses
from lfiw.training.trained_module import TrainedModule


def test_means_of_half_precision() -> None:
    """bfloat16 itself would stay at 256: there, 256 + 1 is 256."""
    module = TrainedModule()
    for _ in range(1000):
        module.add_up(loss=torch.tensor(1.0, dtype=torch.bfloat16), other=torch.tensor(0.5, dtype=torch.float64))
    means = module.epoch_means()
    assert means["train/loss"].item() == pytest.approx(1.0)
    assert (means["train/loss"].dtype, means["train/other"].dtype) == (torch.float32, torch.float64)


def test_one_classifier_resumed_and_killed(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    lines = [
        {"step": 10, "val/log_loss": 0.7, "val/accuracy": 0.5, "epoch": 0},
        {"step": 10, "train/loss": 0.75, "epoch": 0},
        {"step": 20, "val/log_loss": 0.65, "epoch": 1},
        {"step": 20, "val/log_loss": 0.6, "epoch": 1},
        {"step": 30, "val/log_loss": None, "epoch": 2},
        {"step": 0, "test/uniform/fid": 3.0},
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 40, "val/lo')
    assert logged_losses(file, VALIDATION) == {"": ([1, 2], [0.7, 0.6])}
    assert logged_losses(file, TRAINING) == {"": ([1], [0.75])}


def test_several_classifiers(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    lines = [
        {"step": 10, f"fold{fold}-member0/val/log_loss": 0.7 - fold / 10, f"fold{fold}-member0/epoch": 0}
        for fold in (1, 0)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert logged_losses(file, VALIDATION) == {"fold1-member0": ([1], [0.6]), "fold0-member0": ([1], [0.7])}


def test_no_log(tmp_path: Path) -> None:
    assert logged_losses(tmp_path / "metrics.jsonl", VALIDATION) == {}
