import numpy as np
import pytest
import torch
from weighting.exact import WEIGHTS, check_counts, plackett_luce

from lfiw import InputError
from lfiw.weighting.resampling import without_replacement

LOG_RATIO = torch.from_numpy(np.log(WEIGHTS))


@pytest.mark.parametrize("length", [1, 2, 4])
def test_ordered_draws_follow_plackett_luce(length: int) -> None:
    exact = plackett_luce(WEIGHTS, length)
    generator = torch.Generator().manual_seed(length)
    drawn = [tuple(without_replacement(LOG_RATIO, length, generator).tolist()) for _ in range(20_000)]
    orders = [order for order in exact if 20_000 * exact[order] > 5]  # χ² needs a few of each
    rare = 1 - sum(exact[order] for order in orders)
    counts = np.array([drawn.count(order) for order in orders])
    probability = np.array([exact[order] for order in orders])
    if rare > 1e-9:
        counts, probability = np.append(counts, len(drawn) - counts.sum()), np.append(probability, rare)
    check_counts(counts, probability)


def test_rows_are_distinct_and_the_candidates_stay_as_they_are() -> None:
    log_ratio = torch.randn(1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before = log_ratio.clone()
    rows = without_replacement(log_ratio, 1000, torch.Generator().manual_seed(1))
    assert torch.equal(rows.sort().values, torch.arange(1000))
    assert torch.equal(log_ratio, before)


def test_more_than_there_are() -> None:
    with pytest.raises(InputError, match="num_samples=5 without replacement from 4 candidates: ask for fewer"):
        without_replacement(LOG_RATIO, 5)
