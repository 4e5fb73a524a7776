"""The optimiser that a configuration names, for any network."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import nn

from lfiw.errors import InputError, first_line

SCHEDULES = ("constant", "cosine")


def configure(module: LightningModule, net: nn.Module, options: Mapping[str, Any]) -> Any:
    """What `configure_optimizers` returns: AdamW, and its schedule over the run.

    Args:
        options: lr, weight_decay and schedule, as in `lfiw.schemas.Optimizer`.

    Raises:
        InputError: no such schedule, or a value that AdamW does not take.
    """
    if options["schedule"] not in SCHEDULES:
        raise InputError(f"optimizer.schedule={options['schedule']}: expected one of {', '.join(SCHEDULES)}")
    try:
        groups = parameter_groups(net, options["weight_decay"])
        optimizer = torch.optim.AdamW(groups, lr=options["lr"], weight_decay=options["weight_decay"])
    except ValueError as error:
        raise InputError(f"optimizer: {first_line(error)}") from None
    if options["schedule"] == "constant":
        return optimizer
    steps = int(module.trainer.estimated_stepping_batches)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(1, steps))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def parameter_groups(net: nn.Module, weight_decay: float) -> Iterator[dict[str, Any]]:
    """Weight decay for matrices and kernels only: it has no reason to pull biases and norms to zero."""
    parameters = list(net.parameters())
    yield {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay}
    yield {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}
