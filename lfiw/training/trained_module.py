"""Base of all trained modules: optimizers, means over an epoch, randomness that resumes."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Float
from pytorch_lightning import LightningModule
from torch import Tensor, distributed, nn
from torch.optim.lr_scheduler import LambdaLR

from lfiw.data.batches import mix_seeds
from lfiw.errors import InputError, first_line
from lfiw.training.private import NOTE_OF_HOOK

# fraction of the run completed → factor of the learning rate
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "linear": lambda done: 1 - done,
}


def configure(module: LightningModule, net: nn.Module, options: Mapping[str, Any]) -> Any:
    """Returns what `configure_optimizers` has to: AdamW for the network, and its schedule over the run.

    Args:
        options: lr, betas, weight_decay and schedule, as in `lfiw.schemas.Optimizer`.

    Raises:
        InputError: there is no such schedule, or AdamW does not take a value.
    """
    groups = parameter_groups(net, options["weight_decay"])
    # Lightning clips no fused optimizer under fp16
    optimizer = build_optimizer(groups, options, fused=not module.trainer.gradient_clip_val)
    if options["schedule"] == "constant":
        return optimizer
    schedule = build_schedule(optimizer, options["schedule"], int(module.trainer.estimated_stepping_batches))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def parameter_groups(net: nn.Module, weight_decay: float) -> Iterator[dict[str, Any]]:
    """Applies weight decay to matrices and kernels only: biases and norms have no reason to shrink to zero."""
    parameters = list(net.parameters())
    yield {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay}
    yield {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}


def build_optimizer(
    parameters: Iterable[Any], options: Mapping[str, Any], *, fused: bool = False
) -> torch.optim.Optimizer:
    """Builds AdamW, which without weight decay is Adam.

    Args:
        parameters: tensors, or groups of them.
        options: lr, betas, weight_decay.
        fused: do each step in one kernel.

    Raises:
        InputError: AdamW does not take a value.
    """
    betas = options.get("betas", (0.9, 0.999))
    if len(betas) != 2:
        raise InputError(f"optimizer.betas={list(betas)}: expected two numbers")
    try:
        return torch.optim.AdamW(
            parameters,
            lr=options["lr"],
            betas=(betas[0], betas[1]),
            weight_decay=options["weight_decay"],
            fused=fused,
        )
    except ValueError as error:
        raise InputError(f"optimizer: {first_line(error)}") from None


def build_schedule(optimizer: torch.optim.Optimizer, name: str, steps: int) -> LambdaLR:
    """Builds the schedule of the learning rate over `steps` steps.

    Raises:
        InputError: there is no such schedule.
    """
    if name not in SCHEDULES:
        raise InputError(f"optimizer.schedule={name}: expected one of {', '.join(SCHEDULES)}")
    factor = SCHEDULES[name]
    return LambdaLR(optimizer, lambda step: factor(min(step / max(1, steps), 1.0)))


SUMS = "epoch_sums"  # in a checkpoint


class TrainedModule(LightningModule):
    """Makes a training that resumes in the middle of an epoch equal to one that never stopped.

    Global random numbers (dropout) are reseeded in each step by (seed, epoch, step, process). Values given to `add_up`
    are logged as means over the epoch's steps, `train/<name>`; a checkpoint stores each process's sums so far.

    Attributes:
        seed: that of all randomness in training.
    """

    seed: int

    def __init__(self) -> None:
        super().__init__()
        self._sums: dict[str, tuple[Tensor, int]] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        if name == NOTE_OF_HOOK:
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        seed_global(mix_seeds(self.seed, self.current_epoch, batch_idx, self.global_rank), self.device)

    def on_train_epoch_start(self) -> None:
        self._sums = {}

    def add_up(self, **values: Float[Tensor, ""]) -> None:
        """Adds a step's values to the epoch's means.

        Lightning's `log` in each step would take longer than a small network's forward pass. They stay on the device,
        which nobody waits for, and are added in float32 at least: half precision would round a sum of many away.
        """
        for name, value in values.items():
            value = value.detach().to(torch.promote_types(value.dtype, torch.float32))
            total, steps = self._sums.get(name, (torch.zeros_like(value), 0))
            self._sums[name] = (total + value, steps + 1)

    def epoch_means(self) -> dict[str, Float[Tensor, ""]]:
        """Returns `train/<name>` → mean over this epoch's steps in this process."""
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
        sums = checkpoint.get(SUMS)
        if sums is None:
            return
        totals = sums["totals"]
        # if the number of processes has changed, each gets the mean over all, which leaves the logged mean as it is
        own = totals[self.global_rank] if len(totals) == self.trainer.world_size else totals.mean(0)
        own = own.to(self.device)
        self._sums = {name: (total, steps) for (name, steps), total in zip(sums["steps"].items(), own, strict=True)}


def seed_global(seed: int, device: torch.device) -> None:
    """Seeds the generators that layers use on a device; `torch.manual_seed` takes longer than a small step."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    elif device.type == "cuda":
        torch.cuda.manual_seed(seed)  # the process's device
    else:
        torch.manual_seed(seed)
