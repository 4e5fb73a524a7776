"""The weighted loss, and a classifier trained by it."""

from pathlib import Path

import pytest
import torch
from drawings import write_generated, write_real
from torch.nn import functional as F

from lfiw.schemas import Trainer
from lfiw.tasks.augmentation.drawing_classifier import AugmentationClassifier, weighted_cross_entropy
from lfiw.tasks.augmentation.omniglot import OmniglotDataModule
from lfiw.tasks.augmentation.regimes import TrainingRows
from lfiw.training.trainer import build_trainer, fit

CONV4 = {"name": "conv4", "width": 8, "dropout": 0.0, "norm": "group"}
ADAMW = {"lr": 3e-3, "weight_decay": 0.01, "schedule": "constant"}


@pytest.mark.parametrize("coefficient", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("num_real", [0, 3, 7])
def test_loss_is_the_weighted_sum(num_real: int, coefficient: float) -> None:
    source = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 4, generator=source)
    labels = torch.randint(4, (7,), generator=source)
    weights = torch.where(torch.arange(7) < num_real, 1.0, torch.rand(7, generator=source))
    is_real = torch.arange(7) < num_real
    total, count = 0.0, 0.0
    for row in range(7):
        c = 1.0 if is_real[row] or not num_real else coefficient
        total += c * weights[row].item() * -logits[row].log_softmax(0)[labels[row]].item()
        count += c
    found = weighted_cross_entropy(logits, labels, is_real, weights, coefficient)
    assert found.item() == pytest.approx(total / count, rel=1e-5)


def test_uniform_weights_are_the_plain_loss() -> None:
    logits, labels = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2])
    found = weighted_cross_entropy(logits, labels, torch.arange(6) < 3, torch.ones(6), 1.0)
    torch.testing.assert_close(found, F.cross_entropy(logits, labels))


def test_it_learns_the_classes_and_weight_zero_is_not_learned_from(tmp_path: Path) -> None:
    """Generated rows under wrong labels ruin the classifier at weight 1, and do nothing at weight 0."""
    real = write_real(tmp_path / "real", classes=4)
    generated = write_generated(tmp_path / "generated", real)
    accuracy = {}
    for weight in (0.0, 1.0):
        data = OmniglotDataModule(
            real, generated, num_classes=0, shots=4, validation_shots=2, test_shots=3, batch_size=16, steps_per_epoch=40
        )
        made = data.generated
        made._columns["label"] = (made["label"] + 1) % 4
        good = torch.zeros(len(made), dtype=torch.float64)
        good[0] = 1e-9  # all zero would be refused
        weights = good if weight == 0 else torch.ones(len(made), dtype=torch.float64)
        data.use(TrainingRows(True, torch.arange(len(made)), weights))
        module = AugmentationClassifier(CONV4, ADAMW, shape=(1, 16, 16), num_classes=4, mean=[20.0], std=[60.0])
        options = Trainer(accelerator="cpu", max_epochs=12, patience=0, progress=False)
        trainer = build_trainer(options, tmp_path / str(weight), [], monitor="val/accuracy", mode="max")
        fit(trainer, module, data)
        (scores,) = trainer.test(module, data.test_dataloader(), verbose=False)
        images, labels = data.drawings["test"]["image"], data.drawings["test"]["label"]
        with torch.no_grad():
            right = (module(images).argmax(1) == labels).float().mean().item()
        assert scores["test/accuracy"] == pytest.approx(right)
        accuracy[weight] = right
    assert accuracy[0.0] > 0.8
    assert accuracy[1.0] < accuracy[0.0] - 0.1
