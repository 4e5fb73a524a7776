"""The moving average of the weights, against its recursion written out."""

from pathlib import Path

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from lfiw.training.callbacks import MovingAverage
from lfiw.training.trainer import quiet


class Counting(LightningModule):
    """A weight that is t after t steps, and a number that counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.register_buffer("count", torch.tensor(0))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.count += 1
        return -self.weight

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


@pytest.mark.parametrize("decay", [0.5, 0.95])
def test_the_recursion(decay: float, tmp_path: Path) -> None:
    quiet()
    module = Counting()
    trainer = Trainer(
        accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, callbacks=[MovingAverage(decay)],
    )  # fmt: skip
    trainer.fit(module, DataLoader(torch.zeros(40), batch_size=1))
    expected = 1.0  # the first step's weight is where it starts
    for t in range(2, 81):
        own = min(decay, t / (t + 9))
        expected = own * expected + (1 - own) * t
    assert module.weight.item() == pytest.approx(expected, rel=1e-5)
    assert module.count == 80
