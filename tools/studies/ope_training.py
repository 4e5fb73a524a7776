"""Off-policy evaluation along a training: policies that PPO passed through on its way from π_b to π_e.

The path of `ope_distances` interpolates two policies. This one is not straight: the policies of one training after more
and more steps, of which the first has made the episodes.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lfiw.commands.train_policy import train
from lfiw.tasks.ope.estimation import drift_towards
from lfiw.tasks.ope.policy import load_policy
from lfiw.tasks.ope.reach import reach_of

from .kept import Kept
from .ope import environments_of
from .ope_distances import Graded, graded, learned_from, with_and_without_noise
from .repeated import Row

# steps after which the policy is kept, the first and the last as for policies/; and the discount of the training
STAGES = {
    "Swimmer-v5": ((200_000, 210_000, 230_000, 260_000, 320_000, 400_000, 500_000), 0.9999),
    "HalfCheetah-v5": ((400_000, 420_000, 450_000, 500_000, 600_000, 800_000), 0.99),
}
HORIZON = 1000  # of the training's episodes


def run(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Trains each environment's policies once, and evaluates all of them from the first one's episodes."""
    environments, others = environments_of(overrides, tuple(STAGES))
    rows: list[Row] = []
    for env in environments:
        folder = Path(kept.folder).with_name(f"policies_{env}")
        steps, gamma = STAGES[env]
        files = [folder / f"{env}-{stage}.safetensors" for stage in steps]
        if not all(file.exists() for file in files):
            train(env, steps[-1], list(steps), HORIZON, gamma, 0, folder)
        of_env = partial(outcome, env, files=files, overrides=others)
        for of_problem in with_and_without_noise(env, seeds, of_env, others, kept).values():
            rows += of_problem
    return rows, []


def outcome(env: str, noise: float, seed: int, files: Sequence[Path], overrides: Sequence[str]) -> list[Graded]:
    """Learns from one seed's episodes of the first policy and estimates the return of every other."""
    ends = [f"data.behaviour={files[0]}", f"data.evaluation={files[-1]}"]
    config, learned = learned_from(env, noise, seed, [*overrides, *ends])
    found = []
    for stage, file in zip(STAGES[env][0][1:], files[1:], strict=True):
        policy = load_policy(file)
        reach = reach_of(learned.data, learned.problem.behaviour, policy)
        assert reach is not None
        drift = drift_towards(config.task, learned, policy, reach)
        of_policy = graded(config, learned, policy, drift)
        found.append({"policy": f"{stage:,} steps", "distance": reach.distance, **of_policy})
    return found
