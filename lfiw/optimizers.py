"""AdamW and its schedules, by the options of `lfiw.schemas.Optimizer`."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from lfiw.errors import InputError, first_line

# share of the run that is over → factor of the learning rate
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "linear": lambda done: 1 - done,
}


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
        raise InputError(f"optimizer.schedule={name}: expected one of {', '.join(SCHEDULES)}")
    factor = SCHEDULES[name]
    return LambdaLR(optimizer, lambda step: factor(min(step / max(1, steps), 1.0)))
