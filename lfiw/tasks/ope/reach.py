"""How far episodes of one policy carry: importance weights along a path of policies towards another one.

The policy a share λ of the way interpolates the means and log standard deviations of both. The product of its ratios to
the behaviour policy weighs an episode; how many episodes the weights leave effective says what can be learned of it.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lfiw.tasks.ope.gaussian_policy import Gaussian, GaussianPolicy
from lfiw.tasks.ope.rollouts import Rollouts
from lfiw.weighting.diagnostics import effective_sample_size

CARRIES, EDGE = 0.1, 0.01  # shares of the episodes that stay effective: enough; hardly any
# effective episodes that these shares must be at least: of few episodes one alone is a large share
ENOUGH, FEW = 10, 3
LEVELS = (0.5, 0.3, CARRIES, 0.03)
STEPS = 12  # halvings of an interval of λ: to 1/4096 of it
WITHIN, AT_EDGE, OUT = "within reach", "at the edge of reach", "out of reach"


@dataclass(frozen=True)
class Reach:
    """How far the episodes carry towards the evaluation policy.

    Args:
        way: λ, from 0 (the behaviour policy) to 1 (the evaluation policy); effective: share of the episodes that stays
            effective there.
        levels: share that stays effective → the largest λ up to which it does, at most 1.
        verdict: within reach, at the edge of reach, or out of reach.
        reason: a sentence with the numbers behind it.
    """

    way: list[float]
    effective: list[float]
    levels: dict[float, float]
    verdict: str
    reason: str

    @property
    def distance(self) -> float:
        """Of the evaluation policy, in lengths that keep a tenth of the episodes; 1: within reach."""
        return 1 / self.levels[CARRIES]

    def to_json(self) -> dict[str, Any]:
        """What ope.json holds."""
        levels = {f"{level:g}": way for level, way in self.levels.items()}
        return {**asdict(self), "levels": levels, "distance": self.distance}


class Path:
    """Log weights of episodes for the policies between the one that made them and another.

    Args:
        data: episodes of the behaviour policy.
        behaviour, evaluation: with noise, so that they have densities; both squashed, or neither.
    """

    def __init__(self, data: Rollouts, behaviour: GaussianPolicy, evaluation: GaussianPolicy) -> None:
        self._policy, self._valid = behaviour, data.valid
        states, self._actions = data.observation[data.valid], data.action[data.valid]
        self._ends = behaviour.gaussian(states), evaluation.gaussian(states)
        self._of_behaviour = self._log_density(self._ends[0])

    def log_weights(self, share: float) -> Float[Tensor, " n"]:
        """Returns Σ_t log π_λ(a_t|s_t) − log π_b(a_t|s_t) of each episode, actions as the environment clips them."""
        ratios = self._log_density(self._ends[0].towards(self._ends[1], share)) - self._of_behaviour
        steps = ratios.new_zeros(self._valid.shape)
        steps[self._valid] = ratios
        return steps.sum(1)

    def effective_share(self, share: float) -> float:
        """Returns the share of the episodes that the weights leave effective."""
        log_weights = self.log_weights(share)
        return effective_sample_size(torch.softmax(log_weights, dim=0)).item() / len(log_weights)

    def _log_density(self, gaussian: Gaussian) -> Float[Tensor, " steps"]:
        return self._policy.log_density(gaussian, self._actions)


def reach_of(data: Rollouts, behaviour: GaussianPolicy, evaluation: GaussianPolicy) -> Reach | None:
    """Returns how far the episodes carry; None where no path is defined.

    That is so where a policy is deterministic, or where one squashes its actions and the other does not.
    """
    if not (behaviour.noise and evaluation.noise) or behaviour.squashed != evaluation.squashed:
        return None
    path = Path(data, behaviour, evaluation)
    way = [0.0, *(2.0**-k for k in range(8, -1, -1))]
    effective = [path.effective_share(share) for share in way]
    levels = {level: largest(path, level, way, effective) for level in LEVELS}
    whole = effective[-1] * len(data)
    of_edge, of_within = max(EDGE * len(data), FEW), max(CARRIES * len(data), ENOUGH)
    verdict = WITHIN if whole >= of_within else AT_EDGE if whole >= of_edge else OUT
    reason = (
        f"weights to the evaluation policy leave {whole:.3g} of {len(data):,} episodes effective; a tenth "
        f"stays effective up to {levels[CARRIES]:.2g} of the way"
    )
    return Reach(way, effective, levels, verdict, reason)


def largest(path: Path, level: float, way: list[float], effective: list[float]) -> float:
    """Returns the largest λ below which the effective share stays above a level, by bisection after the grid."""
    first = next((i for i, share in enumerate(effective) if share < level), None)
    if first is None:
        return 1.0
    low, high = way[first - 1], way[first]
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if path.effective_share(middle) >= level else (low, middle)
    return high
