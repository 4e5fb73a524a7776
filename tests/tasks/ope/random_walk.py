"""A dynamics model that is a Gaussian random walk with drift, so that everything about it has a closed form."""

import math

import torch
from torch import Tensor

from lfiw.tasks.ope.dynamics import LOG_STD, DynamicsModel
from lfiw.tasks.ope.policy import Policy

STEPS, DRIFT, REWARD, SIGMA = 8, 0.5, 1.0, 0.2
SHIFT = torch.tensor([0.6, -0.4])  # of the real drift and reward, in σ


def random_walk(members: int = 2) -> DynamicsModel:
    """s′ ~ N(s + 0.5, 0.2²), r ~ N(1, 0.2²), whatever the action."""
    options = {
        "members": members,
        "width": 4,
        "depth": 1,
        "linear_from": 100,
        "beta": 0.5,
        "lr": 1e-3,
        "weight_decay": 0.0,
    }
    model = DynamicsModel(options, sizes=(1, 1)).requires_grad_(False)
    for parameter in model.parameters():
        parameter.zero_()
    model.target_mean.copy_(torch.tensor([DRIFT, REWARD]))
    model.target_std.fill_(SIGMA / math.exp(sum(LOG_STD) / 2))
    model.low.fill_(-1e6)
    model.high.fill_(1e6)
    return model.eval()


def exact_log_ratio(inputs: Tensor) -> Tensor:
    """Of a real walk whose drift and reward are shifted: that of normal densities, of the residuals in the inputs."""
    residual = inputs[:, -2:].double()
    return residual @ SHIFT.double() - SHIFT.double().square().sum() / 2


def policy() -> Policy:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Policy((1, 4, 1))
