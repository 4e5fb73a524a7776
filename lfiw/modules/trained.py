"""What the modules that train have in common: means over an epoch, and randomness that a resumed run has too."""

from typing import Any

import torch
from jaxtyping import Float
from pytorch_lightning import LightningModule
from torch import Tensor, distributed

from lfiw.data.batches import mix_seeds

SUMS = "epoch_sums"  # in a checkpoint


class TrainedModule(LightningModule):
    """A training that stops in the middle of an epoch and goes on from a checkpoint is the one that never stopped.

    Global random numbers (dropout) are seeded anew in each step by (seed, epoch, step, process). What `add_up` is given
    is logged as its mean over the epoch's steps, `train/<name>`; a checkpoint keeps the sums so far of every process.

    Attributes:
        seed: of what is random in training.
    """

    seed: int

    def __init__(self) -> None:
        super().__init__()
        self._sums: dict[str, tuple[Tensor, int]] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_current_fx_name":
            # Lightning notes which hook runs, dozens of times a step; torch's way would look for parameters each time
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        seed_global(mix_seeds(self.seed, self.current_epoch, batch_idx, self.global_rank), self.device)

    def on_train_epoch_start(self) -> None:
        self._sums = {}

    def add_up(self, **values: Float[Tensor, ""]) -> None:
        """Values of a step, whose means are logged at the end of the epoch: `log` in each step takes longer than a
        small network's forward pass."""
        for name, value in values.items():
            if name in self._sums:
                total, steps = self._sums[name]
                self._sums[name] = (total + value.detach(), steps + 1)
            else:
                self._sums[name] = (value.detach(), 1)

    def epoch_means(self) -> dict[str, Float[Tensor, ""]]:
        """`train/<name>` → mean over the steps of this epoch, in this process."""
        return {f"train/{name}": total / steps for name, (total, steps) in self._sums.items()}

    def on_train_epoch_end(self) -> None:
        self.log_dict(self.epoch_means(), sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self._sums:
            own = torch.stack([total for total, _ in self._sums.values()])
            steps = {name: steps for name, (_, steps) in self._sums.items()}
            totals = [torch.empty_like(own) for _ in range(self.trainer.world_size)]
            if len(totals) > 1:
                distributed.all_gather(totals, own)
            else:
                totals = [own]
            checkpoint[SUMS] = {"steps": steps, "totals": torch.stack(totals).cpu()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        kept = checkpoint.get(SUMS)
        if kept is None:
            return
        totals = kept["totals"]
        # another number of processes: the mean over all is what is logged in the end
        own = totals[self.global_rank] if len(totals) == self.trainer.world_size else totals.mean(0)
        own = own.to(self.device)
        self._sums = {name: (total, steps) for (name, steps), total in zip(kept["steps"].items(), own, strict=True)}


def seed_global(seed: int, device: torch.device) -> None:
    """Seeds the random numbers that layers draw on a device; `torch.manual_seed` takes longer than a small step."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    elif device.type == "cuda":
        torch.cuda.manual_seed(seed)  # of the process's device
    else:
        torch.manual_seed(seed)
