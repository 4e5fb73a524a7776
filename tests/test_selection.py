"""Which weighting is recommended."""

import math

import numpy as np
import pytest
import torch

from lfiw import Weighting, effective_sample_size, pareto_k
from lfiw.selection import MIN_ESS, UNIFORM, Candidate, judge, pareto_k_threshold, recommend


def candidate(gain: float, error: float = 0.01, eligible: bool = True) -> Candidate:
    return Candidate(gain, error, pareto_k=0.1, ess=500.0, eligible=eligible)


def test_the_largest_lower_bound_wins_not_the_largest_gain() -> None:
    assert recommend({"sure": candidate(0.5, 0.01), "unsure": candidate(0.6, 0.2)}) == "sure"
    assert recommend({"unsure": candidate(0.6, 0.02), "sure": candidate(0.5, 0.01)}) == "unsure"


def test_uniform_if_nothing_helps_for_certain() -> None:
    assert recommend({}) == UNIFORM
    assert recommend({"worse": candidate(-0.5), "noise": candidate(0.019, 0.01)}) == UNIFORM
    assert recommend({"just": candidate(0.0197, 0.01)}) == "just"  # 1.96 standard errors
    assert recommend({"nan": candidate(math.nan)}) == UNIFORM


def test_what_is_not_eligible_does_not_win() -> None:
    assert recommend({"best": candidate(9.0, eligible=False), "good": candidate(0.1)}) == "good"
    assert recommend({"best": candidate(9.0, eligible=False)}) == UNIFORM


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
    assert found.lower_bound == found.kl_gain - 1.96 * found.standard_error


def test_flattening_the_exact_ratio_gains_less() -> None:
    real, generated = gaussians(0.5)
    weightings = {f"flatten {a}": Weighting(a) for a in (0.25, 0.5, 1.0, 2.0)}
    candidates = {name: judge(w, real, generated) for name, w in weightings.items()}
    # of ŵ^α: α·shift²/2 + α(1 − α)·shift²/2 = shift²/2 · (2α − α²), largest at 1
    for w, c in zip(weightings.values(), candidates.values(), strict=True):
        assert abs(c.kl_gain - 0.125 * (2 * w.flatten - w.flatten**2)) < 4 * c.standard_error
    assert recommend(candidates) == "flatten 1.0"


def test_a_chasm_is_not_eligible() -> None:
    """Hardly any generated row reaches where the data are: the gain looks huge and rests on single rows."""
    real, generated = gaussians(5.0, 1000)
    found = judge(Weighting(), real, generated)
    assert found.ess < MIN_ESS
    assert not found.eligible
    assert recommend({"self-normalised": found}) == UNIFORM


def test_few_rows_are_not_eligible() -> None:
    real, generated = gaussians(0.1, 50)
    assert not judge(Weighting(), real, generated).eligible  # ESS at most 50


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
