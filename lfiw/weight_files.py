"""Networks in files: their weights as safetensors, their options beside them, and no more memory than they need."""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from lfiw.errors import InputError, first_line

HARMLESS_NUMBERS = 1 << 27  # half a gigabyte of parameters
MOST_TENSORS = 10_000
TIMES = 16  # what a network may have beside the part that is kept: critic, encoder, average

M = TypeVar("M", bound=nn.Module)


def read_weights(path: str | os.PathLike[str], key: str, what: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What stands as JSON under `key` in a safetensors file, and its tensors.

    Args:
        what: is expected, for messages.

    Raises:
        FileNotFoundError: no such file.
        InputError: another kind of file, or nothing under that key.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get(key, "null"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} does not hold {what}: it cannot be read as safetensors ({first_line(error)})"
        ) from None
    if not isinstance(about, dict):
        raise InputError(f"{path} holds other weights than those of {what}")
    return about, state


def built_for(state: Mapping[str, Tensor], build: Callable[[], M]) -> M:
    """A network from options that came with its weights.

    It is first built without memory: options of a few bytes can ask for any number of layers of any width.

    Args:
        state: the weights.
        build: makes the network.

    Raises:
        ValueError: it would be much larger than its weights.
    """
    kept = sum(min(v.numel(), v.untyped_storage().nbytes() // v.element_size()) for v in state.values())
    most = max(HARMLESS_NUMBERS, TIMES * kept)
    numbers = tensors = 0

    def count(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        nonlocal numbers, tensors
        numbers, tensors = numbers + (tensor.numel() if tensor is not None else 0), tensors + 1
        if numbers > most or tensors > MOST_TENSORS:
            raise ValueError(f"its options ask for a network much larger than its {kept:,} weights")

    hooks = [
        register_module_parameter_registration_hook(count),
        register_module_buffer_registration_hook(count),
    ]
    try:
        with torch.device("meta"):
            build()
    finally:
        for hook in hooks:
            hook.remove()
    return build()
