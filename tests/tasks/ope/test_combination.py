"""One estimate from several sources; the oracles are scipy, closed forms, and sources whose truth is known."""

import math
from statistics import fmean, variance

import numpy as np
import pytest
from scipy.stats import chi2

from lfiw.tasks.ope.combination import Anchored, Combination, Drift, Episodes, Sampled, Source, drift_on_path
from lfiw.tasks.ope.combination import combine as combine_with

EPISODES = Episodes(num=300, mean=10.0, std=3.0)
KNOWN = Episodes(num=300, mean=10.0, std=0.0)  # whose mean return has no error


def combine(sources: list[Source], episodes: Episodes = KNOWN) -> Combination:
    return combine_with(sources, episodes, Drift(0.0, 0.0))


def test_independent_sources_are_weighted_by_precision() -> None:
    found = combine([Source("a", 1.0, 1.0), Source("b", 2.0, 4.0)])
    assert found.value == pytest.approx(1.2)
    assert found.weights == pytest.approx([0.8, 0.2])
    assert found.disagreement == 1.0  # (1 − 2)² / (1 + 4) is below 1
    assert found.interval.standard_error == pytest.approx(0.8**0.5)
    assert found.interval.high - found.value == pytest.approx(1.959964 * 0.8**0.5, rel=1e-6)


def test_sources_that_disagree_widen_the_interval() -> None:
    values, errors = [1.0, 9.0, 2.0], [1.0, 4.0, 0.25]
    found = combine([Source(str(v), v, e) for v, e in zip(values, errors, strict=True)])
    centre = np.average(values, weights=1 / np.array(errors))
    chi_squared = (((values - centre) ** 2) / errors).sum()
    assert found.disagreement == pytest.approx(chi_squared / 2)
    assert found.interval.standard_error == pytest.approx((chi_squared / 2 / (1 / np.array(errors)).sum()) ** 0.5)


def test_no_interval_is_narrower_than_that_of_the_episodes() -> None:
    found = combine([Source("a", 1.0, 0.03 + 1e-9), Source("b", 1.0, 0.03 + 1e-9)], EPISODES)
    assert found.interval.standard_error == pytest.approx(3 / 300**0.5)


def test_the_error_that_all_sources_share_is_not_averaged_away() -> None:
    """Each source errs by what the episodes' mean does, and by an error of its own."""
    draw = np.random.default_rng(3)
    shared, own = 1.0, np.array([0.3, 0.6, 2.0])
    held, errors = 0, []
    for _ in range(2000):
        known = shared * draw.standard_normal()
        values = known + own * draw.standard_normal(3)
        sources = [Source(str(i), v, shared**2 + e**2) for i, (v, e) in enumerate(zip(values, own, strict=True))]
        found = combine(sources, Episodes(100, known, 10 * shared))
        assert found.weights == pytest.approx(own**-2.0 / (own**-2.0).sum())
        held += found.interval.low <= 0 <= found.interval.high
        errors.append(found.value)
    assert 0.94 < held / 2000 < 0.975
    assert np.std(errors) == pytest.approx((shared**2 + 1 / (own**-2.0).sum()) ** 0.5, rel=0.07)


def test_extrapolation_widens_the_interval_and_leaves_the_weights() -> None:
    found = combine([Source("a", 1.0, 1.0, 3.0), Source("b", 2.0, 4.0)])
    assert found.weights == pytest.approx([0.8, 0.2])
    assert found.interval.standard_error == pytest.approx((0.8**2 * 4 + 0.2**2 * 4) ** 0.5)


def test_what_extrapolation_may_add_grows_as_the_episodes_lose_their_weight() -> None:
    near, half, far = (Sampled(12.0, 0.5, 0.1, effective).source("a", EPISODES) for effective in (300.0, 150.0, 1.5))
    assert (near.extrapolation, half.extrapolation) == (0.0, pytest.approx(0.5 * 0.25))
    # so few that hardly a return near the target's is among them: that of a mean of so many
    assert far.extrapolation == pytest.approx(0.995 * 9 / 1.5)
    assert near.squared_error == half.squared_error == far.squared_error == 0.25
    simulated = Anchored([1.0, 3.0]).source(EPISODES, drift=0.5, far=0.75)
    assert simulated.squared_error == pytest.approx(9 / 300 + 2 * 2 + 0.5)
    assert simulated.extrapolation == pytest.approx(0.75 * 4)


def test_sources_without_error_and_returns_that_never_vary() -> None:
    found = combine([Source("a", 5.0, 0.0), Source("b", 5.0, 0.0)], Episodes(4, 5.0, 0.0))
    assert (found.value, found.interval.low, found.interval.high) == (5.0, 5.0, 5.0)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Three independent normal sources with the errors that they predict: 95 %, or a little more by their spread."""
    draw = np.random.default_rng(0)
    errors = np.array([1.0, 2.0, 5.0])
    held = 0
    for _ in range(2000):
        values = errors * draw.standard_normal(3)
        sources = [Source(str(i), v, e**2) for i, (v, e) in enumerate(zip(values, errors, strict=True))]
        interval = combine(sources, Episodes(10**9, 0.0, 1.0)).interval
        held += interval.low <= 0 <= interval.high
    assert 0.94 < held / 2000 < 0.995


def test_importance_sampling_errs_by_its_bootstrap_or_its_spread_whichever_is_larger() -> None:
    # the bootstrap of a single effective episode sees hardly any error
    assert Sampled(12.0, 0.1, spread=9.0, effective=1.0).squared_error == pytest.approx(9.0)
    assert Sampled(12.0, 2.0, spread=0.1, effective=100.0).squared_error == pytest.approx(4.0)


def test_an_anchored_simulation_errs_by_what_the_networks_do_not_agree_on() -> None:
    found = Anchored([1.0, 2.0, 6.0])
    assert found.value(EPISODES) == pytest.approx(13.0)
    assert found.squared_error(EPISODES) == pytest.approx(9 / 300 + 2 * variance([1.0, 2.0, 6.0]))
    assert Anchored([4.0]).squared_error(EPISODES) == pytest.approx(9 / 300 + 2 * 16)


def on_path(rng: np.random.Generator, drift: float, known: float) -> Drift:
    """Simulations of networks that agree, beside importance sampling of 100 of 300 episodes."""
    left = 1 - 100 / 300
    path = []
    for _ in range(3):
        error = rng.choice([-1, 1]) * (drift * known * left) ** 0.5
        gain = 1.0 + error + 0.03 * rng.standard_normal()
        sampled = EPISODES.mean + 1.0 + 0.3 * rng.standard_normal()
        path.append((Anchored([gain, gain, gain]), Sampled(sampled, 0.3, 0.09, 100.0)))
    return drift_on_path(EPISODES, EPISODES.mean + known**0.5, path)


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_the_drift_on_the_path_bounds_the_true_one_from_above(share: float) -> None:
    rng = np.random.default_rng(1)
    known = 5.0
    found = [on_path(rng, share, known).share for _ in range(300)]
    assert all(0 < f <= 1 for f in found)
    assert sum(f >= share for f in found) > 0.8 * len(found)
    assert fmean(found) < share + 0.35


def test_without_a_path_the_whole_known_error_may_drift() -> None:
    found = drift_on_path(EPISODES, 15.0, [])
    assert found.share == 1.0
    assert found.squared_error == pytest.approx(25 - 9 / 300)
    assert found.of(1.0) == 0.0
    assert found.of(0.25) == pytest.approx(0.75 * found.squared_error)


def test_a_model_that_is_right_where_the_return_is_known_has_nothing_to_drift() -> None:
    path = [(Anchored([1.0, 1.1]), Sampled(11.0, 0.3, 0.09, 100.0))]
    assert drift_on_path(EPISODES, 10.0, path).of(0.0) == 0.0


def test_the_verdict_says_when_the_interval_is_wider_than_the_difference() -> None:
    close = combine([Source("a", 11.0, 1.0)])
    assert close.verdict.startswith("these data cannot tell: the interval is 3.92 wide")
    far = combine([Source("a", 20.0, 1.0)])
    assert far.verdict == "the evaluation policy returns 10 more (8.04 … 12)"
    below = combine([Source("a", 1.0, 1.0)])
    assert "9 less" in below.verdict


def test_disagreement_is_a_chi_squared_over_its_degrees_of_freedom() -> None:
    draw = np.random.default_rng(2)
    values = draw.standard_normal((4000, 3))
    found = [combine([Source(str(i), v, 1.0) for i, v in enumerate(row)]).disagreement for row in values]
    expected = chi2.expect(lambda x: max(1.0, x / 2), args=(2,))
    assert fmean(found) == pytest.approx(expected, abs=4 * math.sqrt(variance(found) / 4000))
