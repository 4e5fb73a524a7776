"""What tells a drawing of the right character from a wrong one: cosines to other drawings, in an embedding."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

SCALE = 20.0  # of the cosines in the softmax over characters
FEATURES = (
    "to the mean of the character's drawings",
    "mean to each of them",
    "largest to one of them",
    "smallest to one of them",
    "mean between two of them",
    "largest to the mean of another character",
    "to the mean of the character's drawings − largest to that of another",
    "log-probability of the character",
    "from the mean of the character's drawings, largest to that of another",
)
MARGIN = 6  # the feature that is positive where the nearest mean is that of the right character


def likeness(
    points: Float[Tensor, "n d"],
    drawings: Float[Tensor, "n m d"],
    means: Float[Tensor, "classes d"],
    labels: Int64[Tensor, " n"],
) -> Float[Tensor, "n 9"]:
    """`FEATURES` of embedded drawings, float64.

    Args:
        points: the drawings, of length 1.
        drawings: for each of them m ≥ 2 others that are surely of its character, of length 1.
        means: of the characters to tell apart, scaled to length 1.
        labels: the character of each drawing, a row of `means`.
    """
    points, drawings, means = points.double(), drawings.double(), means.double()
    m = drawings.shape[1]
    mean = F.normalize(drawings.mean(1), dim=1)
    to_mean = (points * mean).sum(1)
    to_each = (drawings @ points[:, :, None]).squeeze(2)
    between = ((drawings @ drawings.transpose(1, 2)).sum((1, 2)) - m) / (m * (m - 1))
    own = torch.arange(len(means)) == labels[:, None]
    to_others = (points @ means.T).masked_fill(own, -torch.inf)
    nearest = to_others.amax(1)
    all_classes = torch.cat([to_mean[:, None], to_others], dim=1)
    features = [
        to_mean,
        to_each.mean(1),
        to_each.amax(1),
        to_each.amin(1),
        between,
        nearest,
        to_mean - nearest,
        SCALE * to_mean - torch.logsumexp(SCALE * all_classes, dim=1),
        (mean @ means.T).masked_fill(own, -torch.inf).amax(1),
    ]
    return torch.stack(features, dim=1)


def without_each(shots: int) -> Int64[Tensor, "shots others"]:
    """For each of several drawings the places of the others."""
    return torch.arange(shots).expand(shots, shots)[~torch.eye(shots, dtype=torch.bool)].view(shots, shots - 1)


def likeness_to_shots(
    points: Float[Tensor, "n d"],
    shots: Float[Tensor, "classes shots d"],
    labels: Int64[Tensor, " n"],
    left_out: Int64[Tensor, " n"],
) -> Float[Tensor, "n 9"]:
    """`likeness` to the drawings of a character without one of them: that which a generated drawing was made from.

    Args:
        left_out: the place of that drawing among those of its character.
    """
    means = F.normalize(shots.mean(1), dim=1)
    others = shots[labels[:, None], without_each(shots.shape[1])[left_out]]
    return likeness(points, others, means, labels)


@dataclass(frozen=True)
class Episodes:
    """Draws what a target task would have, from source characters: few drawings each, others, and generated ones.

    Args:
        real: embedded drawings, class by class.
        generated: embedded drawings that were made from each of them.
        num_classes, shots: of an episode.
    """

    real: Float[Tensor, "classes drawings d"]
    generated: Float[Tensor, "classes drawings each d"]
    num_classes: int
    shots: int

    def draw(self, generator: torch.Generator) -> tuple[Float[Tensor, "n 9"], Float[Tensor, "m 9"]]:
        """Features of an episode's real drawings beyond the shots, and of what was generated from the shots.

        A generated drawing is compared with the shots that it was not made from, a real one with as many.
        """
        chosen = torch.randperm(len(self.real), generator=generator)[: self.num_classes]
        order = torch.rand(len(chosen), self.real.shape[1], generator=generator).argsort(1)
        shots, others = order[:, : self.shots], order[:, self.shots :]
        known = self.real[chosen[:, None], shots]
        labels = torch.arange(len(chosen))
        real = self.real[chosen[:, None], others].flatten(0, 1)
        left_out = torch.randint(self.shots, (len(real),), generator=generator)
        made = self.generated[chosen[:, None], shots]
        each = made.shape[2]
        parents = torch.arange(self.shots).repeat_interleave(each).repeat(len(chosen))
        return (
            likeness_to_shots(real, known, labels.repeat_interleave(others.shape[1]), left_out),
            likeness_to_shots(made.flatten(0, 2), known, labels.repeat_interleave(self.shots * each), parents),
        )
