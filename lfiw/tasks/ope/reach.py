"""How far episodes of one policy carry: importance weights along a path of policies towards another one.

The policy a share λ of the way interpolates the means and log standard deviations of both. The product of its ratios to
the behaviour policy weighs an episode; how many episodes the weights leave effective says what can be learned of it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lfiw.tasks.ope.policy import Gaussian, Policy
from lfiw.tasks.ope.rollouts import Rollouts
from lfiw.weighting.diagnostics import effective_sample_size

CARRIES, EDGE = 0.1, 0.01  # shares of the episodes that stay effective: enough; hardly any
LEVELS = (0.5, 0.3, CARRIES, 0.03)
STEPS = 12  # halvings of an interval of λ: to 1/4096 of it
WITHIN, AT_EDGE, OUT = "within reach", "at the edge of reach", "out of reach"


@dataclass(frozen=True)
class Reach:
    """How far the episodes carry towards the evaluation policy.

    Args:
        shares: λ → share of the episodes that stay effective, on a grid from 0 to 1.
        levels: share that stays effective → the largest λ up to which it does, at most 1.
        verdict: within reach, at the edge of reach, or out of reach.
        reason: a sentence with the numbers behind it.
    """

    shares: dict[float, float]
    levels: dict[float, float]
    verdict: str
    reason: str

    @property
    def distance(self) -> float:
        """Of the evaluation policy, in lengths that keep a tenth of the episodes; 1 or less: within reach."""
        return 1 / self.levels[CARRIES]


class Path:
    """Log weights of episodes for the policies between the one that made them and another.

    Args:
        data: episodes of the behaviour policy.
        behaviour, evaluation: with noise, so that they have densities; both squashed, or neither.
    """

    def __init__(self, data: Rollouts, behaviour: Policy, evaluation: Policy) -> None:
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


def reach_of(data: Rollouts, behaviour: Policy, evaluation: Policy) -> Reach | None:
    """Returns how far the episodes carry; None where no path is defined.

    That is so where a policy is deterministic, or where one squashes its actions and the other does not.
    """
    if not (behaviour.noise and evaluation.noise) or behaviour.squashed != evaluation.squashed:
        return None
    path = Path(data, behaviour, evaluation)
    grid = [0.0, *(2.0**-k for k in range(8, -1, -1))]
    shares = {share: path.effective_share(share) for share in grid}
    levels = {level: largest(path, level, shares) for level in LEVELS}
    whole = shares[1.0]
    verdict = WITHIN if whole >= CARRIES else AT_EDGE if whole >= EDGE else OUT
    reason = (
        f"weights to the evaluation policy leave {whole * len(data):.3g} of {len(data):,} episodes effective; a tenth "
        f"stays effective up to {levels[CARRIES]:.2g} of the way, {1 / levels[CARRIES]:.2g} such lengths from it"
    )
    return Reach(shares, levels, verdict, reason)


def largest(path: Path, level: float, shares: dict[float, float]) -> float:
    """Returns the largest λ below which the effective share stays above a level, by bisection after the grid."""
    below = next((share for share, effective in shares.items() if effective < level), None)
    if below is None:
        return 1.0
    low, high = max(share for share in shares if share < below), below
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if path.effective_share(middle) >= level else (low, middle)
    return high
