"""Learning rates over a run, and AdamW without decay against torch's Adam."""

import math

import pytest
import torch

from lfiw import InputError
from lfiw.training.trained_module import build_optimizer, build_schedule


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", lambda step: 1.0),
        ("linear", lambda step: 1 - step / 8),
        ("cosine", lambda step: (1 + math.cos(math.pi * step / 8)) / 2),
    ],
)
def test_schedules(name, expected) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = build_schedule(optimizer, name, 8)
    for step in range(8):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.5 * expected(step))
        optimizer.step()
        schedule.step()
    schedule.step()  # a step more than planned
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.5 * expected(8))


def test_without_weight_decay_it_is_adam() -> None:
    values = []
    for make in (
        lambda p: build_optimizer([p], {"lr": 0.1, "betas": [0.0, 0.9], "weight_decay": 0.0}),
        lambda p: torch.optim.Adam([p], lr=0.1, betas=(0.0, 0.9)),
    ):
        parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
        optimizer = make(parameter)
        for _ in range(5):
            optimizer.zero_grad()
            (parameter.square() * torch.tensor([1.0, 3.0])).sum().backward()
            optimizer.step()
        values.append(parameter.detach().clone())
    torch.testing.assert_close(values[0], values[1], rtol=0, atol=0)


def test_what_does_not_do() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    with pytest.raises(InputError, match="optimizer: Invalid learning rate"):
        build_optimizer([parameter], {"lr": -1.0, "weight_decay": 0.0})
    with pytest.raises(InputError, match=r"optimizer\.betas"):
        build_optimizer([parameter], {"lr": 1.0, "betas": [0.9], "weight_decay": 0.0})
    with pytest.raises(InputError, match=r"optimizer\.schedule=step"):
        build_schedule(torch.optim.SGD([parameter], lr=1.0), "step", 5)
