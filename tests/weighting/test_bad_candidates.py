"""What all samplers refuse, in the same words."""

from functools import partial

import pytest
import torch

from lfiw import InputError
from lfiw.weighting.resampling import metropolis_hastings, rejection, residual, sir, systematic, without_replacement

SAMPLERS = {
    "sir": partial(sir, num_samples=1, pool_size=2),
    "systematic": partial(systematic, num_samples=1),
    "residual": partial(residual, num_samples=1),
    "without_replacement": partial(without_replacement, num_samples=1),
    "rejection": partial(rejection, num_samples=1),
    "metropolis_hastings": partial(metropolis_hastings, num_samples=1, pool_size=2, start=0.0),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_candidates_without_a_distribution(name: str) -> None:
    sampler = SAMPLERS[name]
    with pytest.raises(InputError, match="all weights are zero"):
        sampler(torch.full((3,), -torch.inf))
    with pytest.raises(InputError, match="1 of 3 values are NaN or infinite, first in row 1"):
        sampler(torch.tensor([0.0, torch.nan, 1.0]))
    with pytest.raises(InputError, match="expected a non-empty vector"):
        sampler(torch.zeros(0))
    with pytest.raises(InputError, match="num_samples=0 must be at least 1"):
        sampler(torch.zeros(3), num_samples=0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_candidates_are_not_changed_and_a_seed_repeats(name: str) -> None:
    log_ratio = torch.linspace(-1, 1, 50, dtype=torch.float64)
    before = log_ratio.clone()
    first, second = (SAMPLERS[name](log_ratio, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(torch.as_tensor(first[0]), torch.as_tensor(second[0]))
    assert torch.equal(log_ratio, before)
