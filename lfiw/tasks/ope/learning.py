"""What the behaviour policy's episodes teach: a dynamics model and the ratio of its transitions."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.loggers import Logger

from lfiw.data.batches import mix_seeds
from lfiw.schemas import Config
from lfiw.tasks.ope.candidates import AVERAGED, MEAN, RESAMPLED, UNCORRECTED, choose
from lfiw.tasks.ope.combination import Episodes
from lfiw.tasks.ope.dynamics import DynamicsModel, Transitions
from lfiw.tasks.ope.gaussian_policy import GaussianPolicy
from lfiw.tasks.ope.problem import Problem
from lfiw.tasks.ope.rollouts import Rollouts
from lfiw.tasks.ope.simulation import Simulated, ratio_of_one, simulate
from lfiw.tasks.ope.training import TrainedRatio, train_dynamics, train_ratio, transitions_of
from lfiw.weighting.diagnostics import kl_gain


@dataclass(frozen=True)
class Learned:
    """The behaviour policy's episodes, and what was learned from them.

    Args:
        held_out: the episodes that did not train the model; rows: their transitions.
        num_trajectories: of each simulation; candidates: outcomes per step that `RESAMPLED` and `AVERAGED` choose from.
    """

    problem: Problem
    data: Rollouts
    held_out: Rollouts
    rows: Transitions
    model: DynamicsModel
    ratio: TrainedRatio
    num_trajectories: int
    candidates: int
    seed: int

    def of_behaviour(self, way: str) -> Simulated:
        """The behaviour policy, simulated in one of `WAYS`, once."""
        if way not in self._of_behaviour:
            self._of_behaviour[way] = self.simulate(self.problem.behaviour, way)
        return self._of_behaviour[way]

    @cached_property
    def _of_behaviour(self) -> dict[str, Simulated]:
        return {}

    @cached_property
    def episodes(self) -> Episodes:
        """Number, mean and spread of the episodes' returns."""
        returns = self.data.returns()
        return Episodes(len(returns), returns.mean().item(), returns.std().item())

    @cached_property
    def gain(self) -> tuple[float, float]:
        """The ratio's KL gain per held-out transition, and its standard error, in nats."""
        gain, error = kl_gain(*self.ratio.calibrated)
        return gain.item(), error.item()

    @property
    def way(self) -> str:
        """How the simulation goes that the estimate uses."""
        return choose(self.gain)[0]

    @property
    def reason(self) -> str:
        """Why it goes this way."""
        return choose(self.gain)[1]

    def simulate(self, policy: GaussianPolicy, way: str) -> Simulated:
        """Simulates a policy in one of `WAYS`.

        First states and noise are the same for every policy, so that differences between two vary less than each.
        """
        options: dict[str, Any] = {
            UNCORRECTED: {},
            RESAMPLED: {"candidates": self.candidates},
            AVERAGED: {"candidates": self.candidates, "average": True},
            MEAN: {"candidates": 2, "average": True},
        }[way]
        generator = torch.Generator().manual_seed(mix_seeds(self.seed, 3))
        return simulate(
            self.model,
            policy,
            self.data.first_states(self.num_trajectories, generator),
            self.data.reward.shape[1],
            self.problem.terminal,
            generator,
            log_ratio=ratio_of_one if way == MEAN else self.ratio.classifier.log_ratio,
            **options,
        )


def learn(config: Config, run_dir: Path, loggers: Sequence[Logger], problem: Problem, data: Rollouts) -> Learned:
    """Trains the dynamics model on some of the episodes, and the ratio of its transitions on the others."""
    task, seed = config.task, config.seed
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(mix_seeds(seed, 2)))
    num_train = max(1, min(len(data) - 1, round(config.data.train * len(data))))
    train, held_out = data.episodes(order[:num_train]), data.episodes(order[num_train:])
    rows, held_out_rows = (transitions_of(part, problem.behaviour) for part in (train, held_out))
    model = train_dynamics(config, run_dir, loggers, rows, held_out_rows)
    of_evaluation = None
    if task.evaluation_states:
        generator = torch.Generator().manual_seed(mix_seeds(seed, 5))
        start, horizon = data.first_states(task.num_trajectories, generator), data.reward.shape[1]
        of_evaluation = simulate(model, problem.evaluation, start, horizon, problem.terminal, generator)
    ratio = train_ratio(config, run_dir, loggers, model, held_out_rows, of_evaluation)
    return Learned(problem, data, held_out, held_out_rows, model, ratio, task.num_trajectories, task.candidates, seed)
