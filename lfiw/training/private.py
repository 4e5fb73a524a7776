"""The private parts of Lightning that this package relies on, each with its reason.

Their names may change in any release: pyproject.toml bounds the version, tests/training/test_private.py says what they
have to do.
"""

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import WandbLogger

# Lightning notes on the module which hook runs, dozens of times a step; torch's way to set an attribute, which looks
# for parameters first, takes a noticeable part of a small network's step.
NOTE_OF_HOOK = "_current_fx_name"


def ignore_signals(trainer: Trainer) -> None:
    """Takes Lightning's answer to signals from it, which no public option does; ours is `LastCheckpoint`.

    It hangs: it runs collective operations in the handler, while others are under way, and its loops stop one process
    without the others.
    """
    trainer._signal_connector.register_signal_handlers = _nothing  # type: ignore[method-assign]
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _nothing  # type: ignore[method-assign]


def _nothing() -> None:
    """Takes the place of what is not to happen."""


def restore_loaders(trainer: Trainer) -> None:
    """Gives a resumed training's loader the state of the checkpoint.

    Lightning does so as it makes the loader, but a schedule that asks for the number of steps has it made before
    Lightning has read that state.
    """
    trainer.fit_loop._load_combined_loader_states()


def drop_anonymous(logger: WandbLogger) -> None:
    """Takes out an option that Lightning always hands to wandb, and of which wandb warns that it has no effect."""
    logger._wandb_init.pop("anonymous", None)
