"""Samples that a ratio corrects in the latent space of each generator that is trained here."""

import pytest
import torch
from generators.test_generative import NETS, SHAPE, module_of
from scipy.stats import kstest, ttest_ind
from torch import Tensor

from lfiw import InputError
from lfiw.generators.generative_module import GenerativeModule
from lfiw.generators.latent_sampling import LatentSampler
from lfiw.weighting.resampling import sir


def brightness(batch: dict[str, Tensor]) -> Tensor:
    """A log-weight: brighter images are more like the data."""
    return batch["image"].double().mean((1, 2, 3)) / 20


def drawn(module: GenerativeModule, num: int, seed: int = 0, **options) -> tuple[Tensor, LatentSampler]:
    settings = {"score": brightness, "pool": 30, "step": 0.6, **options}
    sampler = LatentSampler(module, generator=torch.Generator().manual_seed(seed), **settings)
    blocks = list(sampler.draw(num, 100))
    return torch.cat([block["image"] for block in blocks]), sampler


@pytest.mark.parametrize("name", sorted(NETS))
def test_normal_numbers_become_the_generators_own_noise(name: str) -> None:
    module = module_of(name)
    like = module.draw_noise(torch.Generator().manual_seed(0))
    normal = torch.randn((500, *like.shape), generator=torch.Generator().manual_seed(1), dtype=like.dtype)
    own = torch.stack([module.draw_noise(torch.Generator().manual_seed(row)) for row in range(500)])
    mapped = module.noise_from_normal(normal)
    assert (mapped.shape, mapped.dtype) == (own.shape, own.dtype)
    for place in (0, -1):
        assert kstest(mapped.flatten(1)[:, place], own.flatten(1)[:, place]).pvalue > 1e-3


def test_it_draws_what_resampling_of_many_candidates_draws() -> None:
    module = module_of("sngan")
    images, sampler = drawn(module, 400)
    assert images.shape == (400, *SHAPE)
    assert sampler.candidates == 400 * 30
    assert 0.05 < sampler.accepted / sampler.candidates < 0.95
    candidates = module.sample(400 * 30, torch.Generator().manual_seed(9))
    values = brightness(candidates)
    rows = sir(values, 400, 30, torch.Generator().manual_seed(2))
    found = brightness({"image": images})
    assert ttest_ind(found, values[rows]).pvalue > 1e-3
    assert ttest_ind(found, values).pvalue < 1e-6


def test_one_evaluation_is_the_generator_itself_and_draws_repeat() -> None:
    module = module_of("sngan")
    images, sampler = drawn(module, 30, pool=1)
    assert (sampler.candidates, sampler.accepted) == (30, 0)
    assert torch.equal(images, drawn(module, 30, pool=1)[0])
    assert not torch.equal(images, drawn(module, 30, pool=1, seed=1)[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool": 0}, "pool=0 must be at least 1"),
        ({"step": 0.0}, "step=0: expected above 0"),
        ({"step": 2.0}, "step=2"),
    ],
)
def test_what_is_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        drawn(module_of("sngan"), 10, **options)
