"""The drawing generator before it is trained, and the critic."""

import torch
from drawings import drawings

from lfiw.tasks.augmentation.drawing_gan import DrawingCritic, DrawingGenerator


def test_training_starts_from_slightly_bent_copies() -> None:
    torch.manual_seed(0)
    images, _ = drawings(6, 2)
    given = images.float() / 255
    generator = DrawingGenerator(side=16, width=8, noise=4)
    with torch.no_grad():
        first, second = (generator(given, torch.randn(12, 4)) for _ in range(2))
    assert first.shape == given.shape
    assert first.min() == 0  # paper is exactly 0
    assert first.max() <= 1
    assert not torch.equal(first, second)  # the noise has an effect from the start
    together = torch.corrcoef(torch.cat([first.flatten(1), given.flatten(1)]))[:12, 12:]
    other_class = torch.arange(12)[:, None] // 2 != torch.arange(12) // 2
    assert together.diagonal().mean() > together[other_class].mean() + 0.3


def test_critic_gives_a_number_a_set_whatever_the_others() -> None:
    critic = DrawingCritic(drawings=3, side=16, width=4)
    sets = torch.rand(5, 3, 16, 16)
    torch.testing.assert_close(critic(sets)[2:3], critic(sets[2:3]))
