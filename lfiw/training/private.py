"""The private parts of Lightning that this package relies on, each with its reason.

Their names may change in any release: pyproject.toml bounds the version, and tests/training/test_private.py checks what
they do.
"""

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.loggers import WandbLogger
from torch.optim.swa_utils import AveragedModel

# Lightning records on the module which hook runs, dozens of times per step; torch's `__setattr__`, which looks for
# parameters first, takes a noticeable part of a small network's step
NOTE_OF_HOOK = "_current_fx_name"


def ignore_signals(trainer: Trainer) -> None:
    """Disables Lightning's signal handling, which no public option does; `LastCheckpoint` replaces it.

    Lightning's can hang: its handler runs collective operations while others are in progress, and its loops stop one
    process without the others.
    """
    trainer._signal_connector.register_signal_handlers = _nothing  # type: ignore[method-assign]
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _nothing  # type: ignore[method-assign]


def _nothing() -> None:
    """Does nothing, in place of what it replaces."""


def restore_loaders(trainer: Trainer) -> None:
    """Restores the state of a resumed training's loader from the checkpoint.

    Lightning does so when it creates the loader; but a schedule that needs the number of steps creates it before
    Lightning has read that state.
    """
    trainer.fit_loop._load_combined_loader_states()


def drop_anonymous(logger: WandbLogger) -> None:
    """Drops an option that Lightning always passes to wandb, which warns that it has no effect."""
    logger._wandb_init.pop("anonymous", None)


def average_of(callback: WeightAveraging) -> AveragedModel:
    """Returns the model that a callback averages into, once its `setup` for training has made it."""
    average = callback._average_model
    assert average is not None
    return average
