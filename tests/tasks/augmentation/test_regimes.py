"""What each regime trains on."""

import math

import pytest
import torch

from lfiw import InputError
from lfiw.schemas import REGIMES
from lfiw.tasks.augmentation.regimes import AUTO, ON_EMBEDDING, needs_log_ratio, relative_log_ratio, training_rows
from lfiw.weighting.weights import Weighting

LOG_RATIO = torch.tensor([0.0, 2.0, -1.0, 1.0], dtype=torch.float64)
ONE_CLASS, TWO_CLASSES = torch.zeros(4, dtype=torch.int64), torch.tensor([0, 1, 0, 1])
TRAINED = [r for r in REGIMES if r != AUTO and r not in ON_EMBEDDING]


@pytest.mark.parametrize("regime", TRAINED)
def test_rows_and_weights(regime: str) -> None:
    rows = training_rows(regime, ONE_CLASS, LOG_RATIO, Weighting(), seed=0)
    assert rows.real == (regime == "real" or regime.startswith("both"))
    assert len(rows.weights) == len(rows.generated)
    if regime == "real":
        assert not len(rows.generated)
    elif regime == "both_filtered":
        assert rows.generated.tolist() == [1, 3]
    elif regime != "both_resampled":
        assert rows.generated.tolist() == [0, 1, 2, 3]
    assert rows.drawn == (regime == "both_drawn")
    if regime.endswith(("_weighted", "_drawn")):
        e = LOG_RATIO.exp()
        torch.testing.assert_close(rows.weights, 4 * e / e.sum())
    else:
        assert (rows.weights == 1).all()


def test_flattened_and_clipped_weights_have_mean_one() -> None:
    w = training_rows("both_weighted", ONE_CLASS, LOG_RATIO, Weighting(flatten=0.5, clip=0.9), seed=0).weights
    expected = (LOG_RATIO / 2).exp().clamp(min=0.9)
    torch.testing.assert_close(w, expected / expected.mean())


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_relative_ratio_is_that_to_a_mixture(share: float) -> None:
    w = LOG_RATIO.exp()
    torch.testing.assert_close(relative_log_ratio(LOG_RATIO, share).exp(), w / (share * w + 1 - share))
    far = relative_log_ratio(torch.tensor([-1000.0, 1000.0]), 0.5)
    torch.testing.assert_close(far, torch.tensor([-1000 + math.log(2), math.log(2)], dtype=torch.float64))


@pytest.mark.parametrize("regime", ["both_weighted", "both_drawn"])
def test_weights_have_mean_one_in_each_class_however_far_apart_the_classes_are(regime: str) -> None:
    apart = LOG_RATIO + 2000 * TWO_CLASSES
    w = training_rows(regime, TWO_CLASSES, apart, Weighting(), seed=0).weights
    for own in (TWO_CLASSES.eq(0), TWO_CLASSES.eq(1)):
        e = LOG_RATIO[own].exp()
        torch.testing.assert_close(w[own], e / e.mean())


def test_resampled_rows_follow_the_weights() -> None:
    """Counts of many draws against the weights, within four binomial standard errors (a pool of 256 biases by less)."""
    n = 20_000
    log_ratio = LOG_RATIO.repeat(n // 4)
    rows = training_rows("both_resampled", ONE_CLASS.repeat(n // 4), log_ratio, Weighting(), seed=0).generated % 4
    expected = torch.softmax(LOG_RATIO, 0)
    share = torch.bincount(rows, minlength=4) / n
    assert ((share - expected).abs() < 4 * (expected * (1 - expected) / n).sqrt() + 0.005).all()


@pytest.mark.parametrize("regime", ["auto", "head", "both_lucky"])
def test_what_trains_no_network_has_no_rows(regime: str) -> None:
    with pytest.raises(InputError, match=f"regime '{regime}': expected one of"):
        training_rows(regime, ONE_CLASS, LOG_RATIO, Weighting(), seed=0)


def test_what_needs_weights() -> None:
    assert [r for r in REGIMES if not needs_log_ratio(r)] == [
        "real",
        "generated",
        "both",
        "prototypes",
        "head",
        "head_both",
    ]
    for wrong in (None, LOG_RATIO[:3]):
        with pytest.raises(InputError, match="both_weighted needs a log-ratio for each of 4 generated rows"):
            training_rows("both_weighted", ONE_CLASS, wrong, Weighting(), seed=0)
