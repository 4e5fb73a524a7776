"""Classifiers on the embedding alone: the nearest mean, and a linear head with and without generated drawings."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from lfiw.tasks.augmentation.likeness import SCALE

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # inverse L2 penalties of the linear head, chosen by validation drawings


@dataclass(frozen=True)
class Points:
    """Embedded drawings and their characters, 0 … classes − 1."""

    points: Float[Tensor, "n d"]
    labels: Int64[Tensor, " n"]


Right = tuple[Bool[Tensor, " validation"], Bool[Tensor, " test"]]


def nearest_means(train: Points, validation: Points, test: Points) -> Right:
    """Which drawings are nearest, by the cosine, to the mean of their character's training drawings."""
    sums = torch.zeros(int(train.labels.max()) + 1, train.points.shape[1])
    means = F.normalize(sums.index_add_(0, train.labels, train.points.float()), dim=1)
    valid, tested = ((p.points.float() @ means.T).argmax(1) == p.labels for p in (validation, test))
    return valid, tested


def linear_head(
    train: Points,
    validation: Points,
    test: Points,
    generated: Points | None = None,
    weights: Float[Tensor, " m"] | None = None,
) -> Right:
    """Which drawings a multinomial logistic regression recognises, with the L2 penalty that recognises most validation
    drawings; the larger one of equals.

    Args:
        generated: trains too, and counts as much as the real drawings together.
        weights: of the generated rows, mean 1. If None, all 1. They stand in the loss, which is over all rows at once
            and has no variance of batches.
    """
    sides = [train] if generated is None else [train, generated]
    rows = SCALE * torch.cat([side.points for side in sides]).double().numpy()
    labels = torch.cat([side.labels for side in sides]).numpy()
    counts = np.ones(len(train.labels))
    if generated is not None:
        own = np.ones(len(generated.labels)) if weights is None else weights.double().numpy()
        counts = np.r_[counts, own * (len(train.labels) / len(generated.labels))]
    best: Right | None = None
    for strength in STRENGTHS:
        head = LogisticRegression(C=strength, max_iter=1000).fit(rows, labels, counts)
        right = [
            torch.from_numpy(head.predict(SCALE * part.points.double().numpy()) == part.labels.numpy())
            for part in (validation, test)
        ]
        if best is None or int(right[0].sum()) > int(best[0].sum()):
            best = right[0], right[1]
    assert best is not None
    return best
