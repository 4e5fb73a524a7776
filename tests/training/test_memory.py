"""A long run needs no more memory than a short one."""

from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lfiw.data import CacheWriter, SampleCache
from lfiw.ratio.classifier import RatioClassifier
from lfiw.ratio.mixed import MixedDataModule
from lfiw.schemas import Trainer as TrainerOptions
from lfiw.training.tracking import build_loggers
from lfiw.training.trainer import build_trainer, fit

WARM_UP, STEPS, EVERY = 1000, 11_000, 100


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


class Memory(Callback):
    def __init__(self) -> None:
        self.found: list[int] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        if trainer.global_step % EVERY == 0:
            self.found.append(resident_bytes())


@pytest.mark.slow
def test_ten_thousand_steps(tmp_path: Path) -> None:
    for side in range(2):
        with CacheWriter(tmp_path / str(side)) as writer:
            images = torch.randint(256, (2000, 1, 8, 8), generator=torch.Generator().manual_seed(side))
            writer.write({"image": images.to(torch.uint8)})
    tables = SampleCache(tmp_path / "0"), SampleCache(tmp_path / "1")
    fractions = {"train": 0.8, "validation": 0.2, "evaluation": 0.0}
    data = MixedDataModule(*tables, fractions=fractions, batch_size=64)
    net = {"name": "mlp", "width": 32, "depth": 1, "dropout": 0.0, "activation": "silu"}
    epochs = STEPS // 50  # of 50 batches
    options = TrainerOptions(accelerator="cpu", max_epochs=epochs, patience=0, progress=False)
    memory = Memory()
    trainer = build_trainer(options, tmp_path, build_loggers("none", tmp_path, {}), callbacks=[memory])
    fit(trainer, RatioClassifier(net), data)
    assert trainer.global_step == STEPS
    before, after = memory.found[WARM_UP // EVERY], memory.found[-1]
    print(f"\n{before / 2**20:.1f} MiB after {WARM_UP:,} steps, {after / 2**20:.1f} MiB after {STEPS:,}")
    assert after < 1.01 * before
