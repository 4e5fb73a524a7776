"""A fully connected network."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from lfiw.errors import InputError
from lfiw.nets.net import Net

ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU}


class MLP(Net):
    """(n, …) → (n, outputs): `depth` hidden layers of `width` units on the flattened sample."""

    def __init__(
        self, shape: Sequence[int], *, width: int, depth: int, dropout: float, activation: str, outputs: int = 1
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise InputError(f"model.activation={activation}: expected one of {', '.join(ACTIVATIONS)}")
        if width < 1 or depth < 0:
            raise InputError(f"model.width={width} must be at least 1 and model.depth={depth} at least 0")
        layers: list[nn.Module] = [nn.Flatten()]
        features = math.prod(shape)
        for _ in range(depth):
            layers += [nn.Linear(features, width), ACTIVATIONS[activation](), nn.Dropout(dropout)]
            features = width
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(features, outputs)

    def penultimate(self, x: Tensor) -> Tensor:
        return self.layers(x)
