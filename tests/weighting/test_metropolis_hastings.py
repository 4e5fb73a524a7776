import math

import numpy as np
import pytest
import torch
from weighting.exact import WEIGHTS, chain_distribution, chain_transition, check_counts

from lfiw import InputError
from lfiw.weighting.resampling import IndependenceChain, metropolis_hastings

LOG_RATIO = torch.from_numpy(np.log(WEIGHTS))
CHAINS = 6_000


@pytest.mark.parametrize(("start", "burn_in", "thin"), [(2.0, 3, 1), (50.0, 2, 2), (0.1, 0, 1), (1e30, 4, 3)])
def test_the_state_after_a_few_steps_has_the_exact_distribution(start: float, burn_in: int, thin: int) -> None:
    starts = torch.full((CHAINS,), math.log(start), dtype=torch.float64)
    chain = metropolis_hastings(
        LOG_RATIO, CHAINS, thin, torch.Generator().manual_seed(0), start=starts, burn_in=burn_in
    )
    check_counts(np.bincount(chain.rows, minlength=4), chain_distribution(WEIGHTS, start, burn_in, thin))


def test_the_weights_are_stationary() -> None:
    """The second eigenvalue is 0.6: after 20 steps the past is gone, to 4e-5, and the states are independent."""
    target = WEIGHTS / WEIGHTS.sum()
    np.testing.assert_allclose(target @ chain_transition(WEIGHTS), target, rtol=1e-12)
    chain = metropolis_hastings(LOG_RATIO, 20_000, 20, torch.Generator().manual_seed(1), start=0.0, burn_in=100)
    check_counts(np.bincount(chain.rows, minlength=4), target)


def test_acceptance_rate() -> None:
    """Of a stationary chain: Σ w̄ᵢ min(1, wⱼ/wᵢ)/n. Ten chains of 20,000 steps; the spread over them gives the error."""
    exact = (WEIGHTS / WEIGHTS.sum() @ np.minimum(1, WEIGHTS[None] / WEIGHTS[:, None])).mean()
    rates = [
        metropolis_hastings(LOG_RATIO, 2000, 10, torch.Generator().manual_seed(s), start=1.0, burn_in=0).acceptance_rate
        for s in range(10)
    ]
    assert np.mean(rates) == pytest.approx(exact, abs=4 * np.std(rates, ddof=1) / math.sqrt(10))


def test_chains_of_several_starts_share_the_samples() -> None:
    starts = torch.tensor([0.0, 1.0, 2.0])
    chain = metropolis_hastings(LOG_RATIO, 100, 2, torch.Generator().manual_seed(0), start=starts, burn_in=5)
    again = metropolis_hastings(LOG_RATIO, 100, 2, torch.Generator().manual_seed(0), start=starts, burn_in=5)
    assert torch.equal(chain.rows, again.rows)
    assert chain.rows.shape == (100,)
    assert 0 < chain.acceptance_rate < 1


def test_blocks_of_proposals_make_one_chain() -> None:
    """A refused proposal leaves the state before the block: a chain at the largest weight stays there."""
    chain = IndependenceChain(start=0.0, burn_in=1)
    generator = torch.Generator().manual_seed(0)
    assert chain.advance(torch.tensor([1e9], dtype=torch.float64), generator).tolist() == [1]
    assert chain.advance(torch.zeros(3, dtype=torch.float64), generator).tolist() == [0, 0, 0]
    assert chain.accepted == 1


def test_bad_input() -> None:
    for options, message in (
        ({"start": 0.0, "burn_in": -1}, "burn_in=-1 must be at least 0"),
        ({"start": math.nan}, "start: 1 of 1 values are NaN"),
        ({"start": torch.zeros(0)}, "no log-ratio of a real sample"),
    ):
        with pytest.raises(InputError, match=message):
            metropolis_hastings(LOG_RATIO, 1, 1, **options)
