import numpy as np
import torch
from weighting.exact import WEIGHTS

from lfiw.weighting.resampling import residual, systematic

LOG_RATIO = torch.from_numpy(np.log(WEIGHTS))
EXPECTED = 10 * WEIGHTS / WEIGHTS.sum()  # 0.18, 0.89, 2.68, 6.25 of ten draws
SEEDS = 4000


def counts_over_seeds(sampler) -> np.ndarray:
    return np.stack(
        [np.bincount(sampler(LOG_RATIO, 10, torch.Generator().manual_seed(s)), minlength=4) for s in range(SEEDS)]
    )


def test_systematic_draws_the_expected_counts_and_is_never_more_than_one_off() -> None:
    counts = counts_over_seeds(systematic)
    assert (counts >= np.floor(EXPECTED)).all()
    assert (counts <= np.ceil(EXPECTED)).all()
    fraction = EXPECTED - np.floor(EXPECTED)
    error = np.sqrt(fraction * (1 - fraction) / SEEDS)  # the count is one of two numbers
    assert (abs(counts.mean(axis=0) - EXPECTED) < 4 * error).all()


def test_residual_draws_the_expected_counts_and_never_less_than_their_whole_part() -> None:
    counts = counts_over_seeds(residual)
    assert (counts >= np.floor(EXPECTED)).all()
    fraction = EXPECTED - np.floor(EXPECTED)
    left = fraction.sum()  # two of the ten draws
    error = np.sqrt(left * (fraction / left) * (1 - fraction / left) / SEEDS)  # multinomial
    assert (abs(counts.mean(axis=0) - EXPECTED) < 4 * error).all()
    # as spread out as a multinomial variable, whose sample variance has a relative error of about √(2/seeds) = 0.022
    np.testing.assert_allclose(counts.var(axis=0), error**2 * SEEDS, rtol=0.12)


def test_whole_expected_counts_leave_nothing_to_chance() -> None:
    for num, weights in ((12, np.array([1.0, 2.0, 3.0])), (49, np.ones(49)), (30, np.full(10, 0.1))):
        for sampler in (systematic, residual):
            rows = sampler(torch.from_numpy(np.log(weights)), num, torch.Generator().manual_seed(0))
            np.testing.assert_array_equal(np.bincount(rows), num * weights / weights.sum())


def test_rows_whose_weight_underflows_are_never_drawn() -> None:
    log_ratio = torch.tensor([-1e300, 0.0, -1e5, 0.5, -1e300], dtype=torch.float64)
    for sampler in (systematic, residual):
        rows = torch.cat([sampler(log_ratio, 1000, torch.Generator().manual_seed(seed)) for seed in range(20)])
        assert set(rows.tolist()) == {1, 3}
