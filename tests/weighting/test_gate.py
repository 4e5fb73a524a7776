"""Which weighting is recommended."""

import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from scipy.stats import norm

from lfiw import Weighting, effective_sample_size, pareto_k
from lfiw.weighting.gate import (
    CANNOT,
    CORRECTS,
    GRID,
    MIN_ESS,
    NOTHING,
    choose,
    in_words,
    judge,
    judge_all,
    min_ess_share,
    pareto_k_threshold,
)


def gaussians(shift: float, n: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    """Exact log-ratios of N(shift, 1) against N(0, 1) under each."""
    x = torch.randn(2, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return shift * (x[0] + shift) - shift**2 / 2, shift * x[1] - shift**2 / 2


def test_judge_is_the_closed_form_for_gaussians() -> None:
    shift = 0.5
    real, generated = gaussians(shift)
    found = judge(Weighting(), real, generated)
    # KL(p‖q) = shift²/2, all of which the exact ratio wins back
    assert abs(found.kl_gain - shift**2 / 2) < 4 * found.standard_error
    # the delta method with the closed forms: Var_p[log ŵ] = shift², Var_q[ŵ] = exp(shift²) − 1; 10 % for its own noise
    assert found.standard_error == pytest.approx(math.sqrt((shift**2 + math.exp(shift**2) - 1) / 4000), rel=0.1)
    assert found.ess == pytest.approx(float(effective_sample_size(Weighting()(generated))), rel=1e-12)
    assert found.pareto_k == pareto_k(generated)
    assert found.eligible
    assert found.lower_bound == pytest.approx(norm.ppf(0.025, found.kl_gain, found.standard_error), rel=1e-12)


def test_flattening_the_exact_ratio_gains_less() -> None:
    real, generated = gaussians(0.5)
    weightings = {f"flatten {a}": Weighting(a) for a in (0.25, 0.5, 1.0, 2.0)}
    candidates = {name: judge(w, real, generated) for name, w in weightings.items()}
    # of ŵ^α: α·shift²/2 + α(1 − α)·shift²/2 = shift²/2 · (2α − α²), largest at 1
    for w, c in zip(weightings.values(), candidates.values(), strict=True):
        assert abs(c.kl_gain - 0.125 * (2 * w.flatten - w.flatten**2)) < 4 * c.standard_error


def test_a_chasm_is_not_eligible() -> None:
    """Hardly any generated row reaches where the data are: the gain looks huge and rests on single rows."""
    real, generated = gaussians(5.0, 1000)
    found = judge(Weighting(), real, generated)
    assert found.ess < MIN_ESS
    assert not found.eligible
    choice = choose(real, generated, [Weighting()])
    assert (choice.weighting, choice.verdict) == (Weighting(flatten=0.0), CANNOT)
    assert choice.reason == (
        f"plain weights leave ESS {found.ess:,.0f} of 1,000, k̂ {found.pareto_k:.2f}; needed are an ESS of at least 100 "
        "and a k̂ below 0.67"
    )


def test_the_exact_ratio_corrects() -> None:
    real, generated = gaussians(0.5)
    choice = choose(real, generated)
    assert choice.verdict == CORRECTS
    assert choice.weighting == Weighting(smooth=True)
    assert choice.candidate is not None
    assert asdict(choice.candidate) == pytest.approx(asdict(judge(choice.weighting, real, generated)), rel=1e-9)
    assert f"{choice.candidate.kl_gain:.3f} ± " in choice.reason


def test_where_the_plain_ratio_is_too_heavy_the_largest_lower_bound_is_taken() -> None:
    real, generated = (3 * side for side in gaussians(0.8))
    assert not judge(Weighting(), real, generated).eligible
    choice = choose(real, generated)
    candidates = judge_all(GRID, real, generated)
    best = max(c.lower_bound for c in candidates if c.eligible)
    assert choice.verdict == CORRECTS
    assert choice.candidate == candidates[GRID.index(choice.weighting)]
    assert choice.candidate is not None
    assert choice.candidate.lower_bound == best
    # over-confident by a factor of 3, and no heavier than can be borne
    assert choice.weighting.flatten <= 1 / 3 + 0.1


def test_noise_is_nothing_to_correct() -> None:
    noise = torch.randn(2, 3000, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 0.3
    choice = choose(noise[0], noise[1])
    assert (choice.weighting, choice.verdict) == (Weighting(flatten=0.0), NOTHING)
    assert "(p = " in choice.reason


def test_a_ratio_that_is_wrong_cannot_correct() -> None:
    # told apart, but by a ratio that is the wrong way round in its tail: no weighting brings the model nearer
    g = torch.Generator().manual_seed(0)
    real, generated = torch.randn(2, 4000, dtype=torch.float64, generator=g)
    real, generated = (0.3 + 0.1 * real).where(real < 2, torch.tensor(-60.0)), -0.3 + 0.1 * generated
    choice = choose(real.double(), generated, [Weighting(), Weighting(0.5)])
    assert (choice.weighting, choice.verdict) == (Weighting(flatten=0.0), CANNOT)
    assert "not above zero" in choice.reason


@pytest.mark.parametrize(
    ("weighting", "words"),
    [(Weighting(), "ŵ"), (Weighting(0.5), "ŵ^0.5"), (Weighting(0.25, 0.01), "max(ŵ^0.25, 0.01)")],
)
def test_in_words(weighting: Weighting, words: str) -> None:
    assert in_words(weighting) == words


def test_few_rows_are_not_eligible() -> None:
    real, generated = gaussians(0.1, 50)
    assert not judge(Weighting(), real, generated).eligible  # ESS at most 50


def test_too_few_rows_are_named_as_the_reason() -> None:
    real, generated = torch.full((60,), 3.0), torch.linspace(-4, 1, 60)
    found = choose(real, generated)
    assert found.verdict == CANNOT
    assert found.reason.startswith("60 generated validation rows are too few to judge weights by: at least 100 ")


def test_smoothing_is_judged_by_the_ratio_that_it_smooths() -> None:
    real, generated = gaussians(0.5)
    assert judge(Weighting(smooth=True), real, generated) == judge(Weighting(), real, generated)


def test_the_scale_of_the_ratio_is_irrelevant() -> None:
    real, generated = gaussians(0.5)
    a, b = judge(Weighting(), real, generated), judge(Weighting(), real + 3, generated + 3)
    assert (a.kl_gain, a.ess) == (pytest.approx(b.kl_gain, rel=1e-9), pytest.approx(b.ess, rel=1e-9))


@pytest.mark.parametrize(("n", "expected"), [(10, 0.0), (100, 0.5), (1000, 2 / 3), (2200, 0.7), (10**6, 0.7)])
def test_threshold(n: int, expected: float) -> None:
    assert pareto_k_threshold(n) == pytest.approx(expected, abs=1e-3)
    assert np.isfinite(pareto_k_threshold(0))


def test_a_score_of_many_features_asks_for_many_effective_samples() -> None:
    real, generated = gaussians(1.2)  # the exact ratio: ESS/n about exp(−1.44) = 0.24
    assert choose(real, generated).weighting == Weighting(smooth=True)
    choice = choose(real, generated, ess_share=0.5)
    assert choice.verdict == CORRECTS
    assert choice.candidate is not None
    assert choice.candidate.ess >= 0.5 * len(generated)
    assert 0 < choice.weighting.flatten < 1


@pytest.mark.parametrize(
    ("features", "samples", "share"),
    [(2048, 30_000, 6144 / 30_000), (2048, 20_000, 6144 / 20_000), (2048, 5000, 0.5), (64, 50_000, 0.01)],
)
def test_min_ess_share(features: int, samples: int, share: float) -> None:
    assert min_ess_share(features, samples) == pytest.approx(share)


def test_a_floor_with_a_few_rows_above_it_is_not_believed() -> None:
    """Most of the tail are ties: no k̂. The generated rows have an ESS of 3,500, but the real ones lie where the weights
    are e⁵ times as large."""
    generator = torch.Generator().manual_seed(0)
    generated = torch.randn(4000, generator=generator, dtype=torch.float64) - 20
    generated[:40] = torch.linspace(0.0, 1.0, 40, dtype=torch.float64)
    real = torch.randn(4000, generator=generator, dtype=torch.float64) + 5
    floored, uniform, capped = judge_all(
        [Weighting(clip=1.0), Weighting(flatten=0.0), Weighting(clip=1e3)], real, generated
    )
    assert math.isnan(floored.pareto_k)
    assert effective_sample_size(Weighting(clip=1.0)(generated)) > 3000
    assert floored.ess < 100
    assert floored.lower_bound > 0
    assert not floored.eligible
    assert uniform.eligible  # all equal: nothing is heavy
    assert capped.eligible


def test_few_rows_do_not_prove_a_flat_tail() -> None:
    """A floor below which all 100 generated rows lie, and real rows up to e²³ times heavier."""
    real, generated = torch.linspace(0, 20, 100).double(), torch.linspace(-20, -3, 100).double()
    choice = choose(real, generated, num_scored=400)
    assert choice.verdict == CANNOT
    floored = Weighting(clip=0.1)
    assert effective_sample_size(floored(generated)) == pytest.approx(100)
    assert not judge(floored, real, generated).eligible


@pytest.mark.parametrize("seed", range(20))
def test_exact_ratios_of_counts_are_not_refused_for_their_ties(seed: int) -> None:
    """Categories with ratios from 1/2 to 2: no tail can be fitted, and none is needed."""
    random = np.random.default_rng(seed)
    model = random.dirichlet(np.full(random.integers(2, 12), 20.0))
    data = model * random.uniform(0.7, 1.4, len(model))
    data /= data.sum()
    ratio = torch.from_numpy(np.log(data / model))
    real, generated = (ratio[torch.from_numpy(random.choice(len(ratio), 4000, p=p))] for p in (data, model))
    judged = judge(Weighting(), real, generated)
    assert judged.eligible
    assert math.isnan(judged.pareto_k)
    assert judged.ess > 3000
