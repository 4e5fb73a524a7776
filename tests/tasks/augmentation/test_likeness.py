"""Features that tell a drawing of the right character, against naive loops."""

import math

import numpy as np
import torch
from torch.nn import functional as F

from lfiw.tasks.augmentation.likeness import FEATURES, MARGIN, Episodes, likeness, likeness_to_shots, without_each


def sphere(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def naive(z: np.ndarray, drawings: np.ndarray, means: np.ndarray, own: int) -> list[float]:
    c = drawings.mean(0) / np.linalg.norm(drawings.mean(0))
    each = [float(z @ s) for s in drawings]
    pairs = [float(a @ b) for i, a in enumerate(drawings) for j, b in enumerate(drawings) if i != j]
    others = [mean for j, mean in enumerate(means) if j != own]
    to_others = [float(z @ o) for o in others]
    total = math.exp(20 * z @ c) + sum(math.exp(20 * t) for t in to_others)
    log_probability = 20 * z @ c - math.log(total)
    features = [z @ c, np.mean(each), max(each), min(each), np.mean(pairs), max(to_others), z @ c - max(to_others)]
    return [*map(float, features), float(log_probability), max(float(c @ o) for o in others)]


def test_features_are_their_formulas() -> None:
    points, drawings, means = sphere(6, 5), sphere(6, 3, 5, seed=1), sphere(4, 5, seed=2)
    labels = torch.tensor([0, 1, 2, 3, 3, 0])
    found = likeness(points, drawings, means, labels)
    assert found.shape == (6, len(FEATURES))
    for i in range(6):
        expected = naive(points[i].numpy(), drawings[i].numpy(), means.numpy(), int(labels[i]))
        np.testing.assert_allclose(found[i].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_the_drawing_that_another_was_made_from_is_left_out() -> None:
    assert without_each(3).tolist() == [[1, 2], [0, 2], [0, 1]]
    shots, points = sphere(4, 3, 5), sphere(2, 5, seed=1)
    labels, left_out = torch.tensor([2, 0]), torch.tensor([1, 2])
    found = likeness_to_shots(points, shots, labels, left_out)
    means = F.normalize(shots.mean(1), dim=1).numpy()
    for i, known in enumerate((shots[2, [0, 2]], shots[0, [0, 1]])):
        expected = naive(points[i].numpy(), known.numpy(), means, int(labels[i]))
        np.testing.assert_allclose(found[i].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_episodes_tell_copies_of_a_character_from_drawings_of_another() -> None:
    """Characters are points, drawings lie close; what is generated for one is a drawing of the next."""
    centers = torch.eye(6)
    real = F.normalize(
        centers[:, None] + 0.05 * torch.randn(6, 8, 6, generator=torch.Generator().manual_seed(0)), dim=2
    )
    wrong = real.roll(1, 0)[:, :, None]
    sides = Episodes(real, wrong, num_classes=6, shots=3).draw(torch.Generator().manual_seed(1))
    assert sides[0].shape == (6 * 5, 9)
    assert sides[1].shape == (6 * 3, 9)
    assert (sides[0][:, MARGIN] > 0).all()
    assert (sides[1][:, MARGIN] < 0).all()


def test_a_copy_of_the_drawing_is_not_compared_with_itself() -> None:
    real = sphere(5, 8, 4)
    copies = real[:, :, None].expand(-1, -1, 2, -1)
    made = Episodes(real, copies, num_classes=5, shots=3).draw(torch.Generator().manual_seed(1))[1]
    assert (made[:, 2] < 1 - 1e-6).all()  # the largest cosine to one of the others
