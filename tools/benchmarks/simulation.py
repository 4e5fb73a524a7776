"""Sampling and simulation: PixelCNN++ with cached activations against naive sampling, an ensemble against MuJoCo."""

import torch

from lfiw.generators import pixelcnn
from lfiw.generators.pixelcnn_network import PixelCNN
from lfiw.schemas import Dynamics
from lfiw.tasks.ope.dynamics import DynamicsModel
from lfiw.tasks.ope.environments import Environment, never
from lfiw.tasks.ope.policy import Policy
from lfiw.tasks.ope.simulation import simulate

from .measure import IMAGE, Row, Side, race, seconds_each

PIXELS = 32 * 32
SIZES = (17, 6)  # of HalfCheetah's observations and actions
TRAJECTORIES, HORIZON, REAL_STEPS = 2000, 100, 5000
CORES = 2


def run_pixelcnn(rounds: int) -> list[Row]:
    """Times the sampling of 16 images. Naive sampling runs the whole network per pixel: one run is timed."""
    torch.manual_seed(0)
    net = PixelCNN(IMAGE, width=32, blocks=2, levels=2, mixtures=5, dropout=0.0).eval()
    images, uniforms = torch.zeros(16, *IMAGE), torch.rand(16, 8, 32, 32)

    def naive() -> float:
        with torch.inference_mode():
            return PIXELS * seconds_each(lambda: net(images))()

    note = "16 images of 3×32×32, width 32; the samples are the same"
    ours = seconds_each(lambda: pixelcnn.sample(net, uniforms))
    peer = "the whole network for each pixel"
    return [race("pixelcnn_sampling", peer, ours, naive, rounds, unit="s", goal=20, note=note)]


def run_dynamics(rounds: int) -> list[Row]:
    """Times steps of an ensemble of the default size with a policy, against MuJoCo alone as if it used both cores."""
    note = f"{TRAJECTORIES:,} trajectories of {HORIZON} steps by 5 networks 2 × 128, the policy's network included; "
    note += "the peer steps with actions that were drawn before"
    peer = f"gymnasium's HalfCheetah-v5, on one core, times {CORES}"
    return [race("simulated_steps", peer, simulated(), real(), rounds, unit="steps/s", goal=20.0, note=note)]


def simulated() -> Side:
    model = DynamicsModel(vars(Dynamics()), sizes=SIZES).requires_grad_(False).eval()
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
