import math

import numpy as np
import pytest
import torch
from weighting.exact import WEIGHTS, check_counts

from lfiw import InputError
from lfiw.weighting.resampling import accept_probability, percentile_shift, rejection

COPIES = 20_000
LOG_RATIO = torch.from_numpy(np.log(np.tile(WEIGHTS, COPIES)))  # row i has weight WEIGHTS[i % 4]


def paper_probability(weights: np.ndarray, percentile: float | None) -> np.ndarray:
    """The formula as the paper writes it, in the discriminator's logits."""
    logits = np.log(weights)
    largest, epsilon = logits.max(), 1e-14
    scores = logits - largest - np.log(1 - np.exp(logits - largest - epsilon))
    gamma = 0.0 if percentile is None else np.percentile(scores, percentile)
    return 1 / (1 + np.exp(-(scores - gamma)))


@pytest.mark.parametrize("percentile", [None, 30.0, 80.0])
def test_each_candidate_is_accepted_with_the_probability_of_the_paper(percentile: float | None) -> None:
    exact = paper_probability(np.tile(WEIGHTS, COPIES), percentile)[:4]
    asked = int(0.9 * exact.mean() * 4 * COPIES)
    rows = rejection(LOG_RATIO, asked, torch.Generator().manual_seed(0), percentile=percentile)
    assert (rows.diff() > 0).all()
    tried = np.bincount(np.arange(int(rows[-1]) + 1) % 4)  # the pass ended there
    accepted = np.bincount(rows % 4, minlength=4)
    error = np.sqrt(exact * (1 - exact) / tried)
    assert (abs(accepted / tried - exact) <= 4 * error + 1e-12).all()


def test_without_a_shift_the_accepted_follow_the_weights() -> None:
    rows = torch.cat([rejection(LOG_RATIO, 2000, torch.Generator().manual_seed(s), percentile=None) for s in range(20)])
    check_counts(np.bincount(rows % 4, minlength=4), WEIGHTS / WEIGHTS.sum())


def test_a_shift_flattens() -> None:
    """The largest weight relative to the next ones: capped by a negative γ, as it is at γ = 0."""
    log_ratio = torch.tensor(WEIGHTS).log()
    bound = log_ratio.max().item()
    exact = accept_probability(log_ratio, bound)
    torch.testing.assert_close(exact, torch.tensor(WEIGHTS / WEIGHTS.max()), rtol=1e-12, atol=1e-13)
    flat = accept_probability(log_ratio, bound, shift=-5.0)
    assert flat[3] / flat[0] < 2 < exact[3] / exact[0]


def test_percentiles_are_those_of_numpy() -> None:
    log_ratio = torch.randn(997, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    r = np.exp(log_ratio.numpy() - log_ratio.max().item() - 1e-14)
    odds = np.log(r) - np.log(-np.expm1(np.log(r)))
    for percentile in (0.0, 37.3, 80.0, 100.0):
        found = percentile_shift(log_ratio, log_ratio.max().item(), percentile)
        assert found == pytest.approx(np.percentile(odds, percentile), rel=1e-3)
    assert percentile_shift(log_ratio, 5.0, None) == 0


def test_equal_and_extreme_weights() -> None:
    assert len(rejection(torch.zeros(1000), 990, torch.Generator().manual_seed(0), percentile=None)) == 990
    assert len(rejection(torch.zeros(1000), 400, torch.Generator().manual_seed(0))) == 400  # all at the median: ½
    extreme = accept_probability(torch.tensor([-1e300, 0.0], dtype=torch.float64), 0.0)
    assert extreme.tolist() == pytest.approx([0, 1], abs=1e-13)
    assert not math.isnan(percentile_shift(torch.tensor([-1e300, 0.0], dtype=torch.float64), 0.0, 50.0))


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"rejection accepted [\d,]+ of 80,000 candidates, 80,000 were requested: "):
        rejection(LOG_RATIO, 80_000, torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match="percentile=101 must lie between 0 and 100"):
        rejection(LOG_RATIO, 1, percentile=101)
