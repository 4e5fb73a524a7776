"""Several fully connected networks of one shape as one: their layers are batched matrix products."""

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from lfiw.errors import InputError


class EnsembleMLP(nn.Module):
    """(members, n, inputs) → (members, n, outputs): each member its own weights, its own rows.

    Args:
        members: networks.
        inputs, outputs: of each.
        width, depth: units a hidden layer, hidden layers.
    """

    def __init__(self, members: int, inputs: int, outputs: int, *, width: int, depth: int) -> None:
        super().__init__()
        if min(members, width, depth) < 1:
            raise InputError(f"dynamics: members={members}, width={width} and depth={depth} must be at least 1")
        sizes = [inputs, *[width] * depth, outputs]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in pairwise(sizes):
            bound = 1 / math.sqrt(fan_in)  # as nn.Linear
            self.weights.append(torch.empty(members, fan_in, fan_out).uniform_(-bound, bound))
            self.biases.append(torch.empty(members, 1, fan_out).uniform_(-bound, bound))

    def forward(self, x: Float[Tensor, "m n i"]) -> Float[Tensor, "m n o"]:
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            if layer < last:
                x = F.silu(x, inplace=not torch.is_grad_enabled())
        return x
