"""Simulated against real steps of HalfCheetah."""

import torch

from lfiw.modules.dynamics import DynamicsModel
from lfiw.ope.environments import Environment
from lfiw.ope.policy import Policy
from lfiw.ope.simulation import simulate
from lfiw.ope.termination import never
from lfiw.schemas import Dynamics

from .measure import Row, Side, compare, interleave, seconds_each

GOAL = 20.0
SIZES = (17, 6)  # of HalfCheetah's observations and actions
TRAJECTORIES, HORIZON, REAL_STEPS = 2000, 100, 5000
CORES = 2


def run(rounds: int) -> list[Row]:
    """Steps a second: an ensemble of the default size with a policy, and MuJoCo alone, as if it used both cores."""
    seconds = interleave({"ours": simulated(), "peer": real()}, rounds)
    return [
        compare(
            "simulated_steps",
            f"gymnasium's HalfCheetah-v5, on one core, times {CORES}",
            seconds["ours"],
            seconds["peer"],
            unit="steps/s",
            goal=GOAL,
            note=f"{TRAJECTORIES:,} trajectories of {HORIZON} steps by 5 networks 2 × 128, the policy's own network "
            "included; the peer steps with actions that are there already",
        )
    ]


def simulated() -> Side:
    options = vars(Dynamics())
    model = DynamicsModel(options, sizes=SIZES).requires_grad_(False).eval()
    model.low.fill_(-10.0)
    model.high.fill_(10.0)
    policy = Policy((SIZES[0], 64, 64, SIZES[1]))
    start, generator = torch.zeros(TRAJECTORIES, SIZES[0]), torch.Generator().manual_seed(0)
    return seconds_each(lambda: simulate(model, policy, start, HORIZON, never, generator), TRAJECTORIES * HORIZON)


def real() -> Side:
    environment = Environment("HalfCheetah-v5", REAL_STEPS).make()
    actions = 2 * torch.rand(REAL_STEPS, SIZES[1], generator=torch.Generator().manual_seed(0)).numpy() - 1

    def step_through() -> None:
        environment.reset(seed=0)
        for action in actions:
            environment.step(action)

    return seconds_each(step_through, REAL_STEPS * CORES)
