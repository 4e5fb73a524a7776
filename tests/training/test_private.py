"""The private parts of Lightning that lfiw/training/private.py relies on are there and do what it says."""

import inspect
import signal
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loops.fit_loop import _FitLoop
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from torch import Tensor
from torch.utils.data import DataLoader

from lfiw.training.private import NOTE_OF_HOOK, average_of, drop_anonymous, ignore_signals, restore_loaders
from lfiw.training.trainer import quiet


class Noting(LightningModule):
    """Remembers how SIGTERM was handled in its steps, and the attributes that Lightning set during them."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[str, object] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        if "seen" in self.__dict__:
            self.seen[name] = value
        super().__setattr__(name, value)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.seen["handler"] = signal.getsignal(signal.SIGTERM)
        return self.weight.square()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train(folder: Path, *, ignoring: bool) -> Noting:
    quiet()
    trainer = Trainer(accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False,
                      enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder)  # fmt: skip
    if ignoring:
        ignore_signals(trainer)
    module = Noting()
    trainer.fit(module, DataLoader(torch.zeros(2, 1)))  # type: ignore[arg-type]
    return module


def test_lightning_would_handle_signals_and_does_not(tmp_path: Path) -> None:
    own = signal.getsignal(signal.SIGTERM)
    assert train(tmp_path, ignoring=False).seen["handler"] != own
    assert train(tmp_path, ignoring=True).seen["handler"] == own
    # with several processes, each step asks for this first
    assert "self._broadcast_sigterm_tensor()" in inspect.getsource(_TrainingEpochLoop.advance)


def test_lightning_notes_the_hook_on_the_module(tmp_path: Path) -> None:
    assert NOTE_OF_HOOK in train(tmp_path, ignoring=False).seen


def test_a_loader_made_early_gets_its_state_later() -> None:
    class Loader:
        given: object = None

        def _load_state_dicts(self, states: object) -> None:
            self.given = states

    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    loop = trainer.fit_loop
    loop._combined_loader = Loader()  # type: ignore[assignment]
    loop._combined_loader_states_to_load = [{"epoch": 3}]
    restore_loaders(trainer)
    assert loop._combined_loader.given is None  # type: ignore[union-attr]
    loop._restarting = True
    restore_loaders(trainer)
    assert loop._combined_loader.given == [{"epoch": 3}]  # type: ignore[union-attr]
    # otherwise it would be given twice, or by another name
    assert "self._load_combined_loader_states()" in inspect.getsource(_FitLoop.setup_data)


def test_wandb_is_not_asked_to_be_anonymous(tmp_path: Path) -> None:
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    assert "anonymous" in logger._wandb_init
    drop_anonymous(logger)
    assert "anonymous" not in logger._wandb_init


def test_lightning_averages_by_the_models_own_method(tmp_path: Path) -> None:
    quiet()
    callback, seen = WeightAveraging(), []

    class Averaged(Noting):
        def on_train_start(self) -> None:
            average_of(callback).update_parameters = seen.append  # type: ignore[method-assign]

    module = Averaged()
    Trainer(accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=tmp_path, callbacks=[callback],
    ).fit(module, DataLoader(torch.zeros(2, 1)))  # type: ignore[arg-type]  # fmt: skip
    assert seen == [module, module]
