"""AdamW and its schedules, by the options of `lfiw.schemas.Optimizer`."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from lfiw.errors import InputError, first_line

# share of the run that is over → factor of the learning rate
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "linear": lambda done: 1 - done,
}


def configure(module: LightningModule, net: nn.Module, options: Mapping[str, Any]) -> Any:
    """What `configure_optimizers` returns: AdamW for the network, and its schedule over the run.

    Args:
        options: lr, betas, weight_decay and schedule, as in `lfiw.schemas.Optimizer`.

    Raises:
        InputError: no such schedule, or a value that AdamW does not take.
    """
    if options["schedule"] not in SCHEDULES:  # before anything is built
        raise unknown_schedule(options["schedule"])
    groups = parameter_groups(net, options["weight_decay"])
    # Lightning clips no fused optimizer under fp16
    optimizer = build_optimizer(groups, options, fused=not module.trainer.gradient_clip_val)
    if options["schedule"] == "constant":
        return optimizer
    schedule = build_schedule(optimizer, options["schedule"], int(module.trainer.estimated_stepping_batches))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def parameter_groups(net: nn.Module, weight_decay: float) -> Iterator[dict[str, Any]]:
    """Weight decay for matrices and kernels only: it has no reason to pull biases and norms to zero."""
    parameters = list(net.parameters())
    yield {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay}
    yield {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}


def build_optimizer(
    parameters: Iterable[Any], options: Mapping[str, Any], *, fused: bool = False
) -> torch.optim.Optimizer:
    """AdamW; without weight decay it is Adam.

    Args:
        parameters: tensors, or groups of them.
        options: lr, betas, weight_decay.
        fused: all of a step in one kernel.

    Raises:
        InputError: a value that it does not take.
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
    """The learning rate over `steps` steps of the run.

    Raises:
        InputError: no such schedule.
    """
    if name not in SCHEDULES:
        raise unknown_schedule(name)
    factor = SCHEDULES[name]
    return LambdaLR(optimizer, lambda step: factor(min(step / max(1, steps), 1.0)))


def unknown_schedule(name: str) -> InputError:
    return InputError(f"optimizer.schedule={name}: expected one of {', '.join(SCHEDULES)}")
