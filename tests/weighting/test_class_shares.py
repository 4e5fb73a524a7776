"""Post-stratification: each class has the share that it has among real rows."""

import math
import re

import pytest
import torch

from lfiw import Weighting, effective_sample_size
from lfiw.errors import InputError
from lfiw.weighting.gate import CORRECTS, STRATIFIED_GRID, choose, in_words, judge
from lfiw.weighting.overlap import effective_shares
from lfiw.weighting.strata import Strata

P, Q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.3, 0.5])  # classes' shares of both sides


def sides(n: int = 20_000, slope: float = 0.5) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[Strata, Strata]]:
    """Log-ratios that know nothing of the classes, and the classes: N(½, 1) against N(0, 1) within each class."""
    g = torch.Generator().manual_seed(0)
    classes = [torch.multinomial(p, n, replacement=True, generator=g) for p in (P, Q)]
    x = [torch.randn(n, dtype=torch.float64, generator=g) + shift for shift in (0.5, 0.0)]
    counts = torch.bincount(classes[0], minlength=3)
    real, generated = (slope * values - slope**2 / 2 for values in x)
    return (real, generated), (Strata(classes[0], counts), Strata(classes[1], counts))


def class_sums(weights: torch.Tensor, strata: Strata) -> torch.Tensor:
    return torch.stack([weights[strata.of_row == c].sum() for c in range(len(strata.counts))])


@pytest.mark.parametrize("options", [{}, {"flatten": 0.2}, {"clip": 0.7}, {"flatten": 0.5, "smooth": True}])
def test_classes_have_their_shares_and_keep_their_inner_proportions(options: dict[str, float]) -> None:
    (_, log_ratio), (_, strata) = sides(2000)
    weights = Weighting(**options, stratify=True)(log_ratio, strata)
    torch.testing.assert_close(class_sums(weights, strata), strata.shares, rtol=1e-12, atol=0)
    plain = Weighting(**options)(log_ratio)
    for c in range(3):
        own = strata.of_row == c
        torch.testing.assert_close(weights[own] / weights[own].sum(), plain[own] / plain[own].sum())


def test_uniform_weights_with_shares_are_ratios_of_counts() -> None:
    strata = Strata(torch.tensor([0, 0, 0, 1]), torch.tensor([5, 5]))
    weights = Weighting(0.0, stratify=True)(torch.randn(4), strata)
    torch.testing.assert_close(weights, torch.tensor([1 / 6, 1 / 6, 1 / 6, 1 / 2], dtype=torch.float64))
    assert not Weighting(0.0, stratify=True).is_uniform
    assert in_words(Weighting(0.0, stratify=True)) == "matching class shares"
    assert in_words(Weighting(0.5, 0.1, stratify=True)) == "max(ŵ^0.5, 0.1) with class shares matched"


def test_the_gain_in_nats_is_the_closed_form() -> None:
    """KL(p‖q) is that within the classes, ½², plus that of the shares; matching shares wins back the second part."""
    (real, generated), strata = sides()
    within, between = 0.125, (P * (P / Q).log()).sum().item()
    for weighting, expected in ((Weighting(), within), (Weighting(stratify=True), within + between)):
        found = judge(weighting, real, generated, strata)
        assert abs(found.kl_gain - expected) < 4 * found.standard_error
    alone = judge(Weighting(0.0, stratify=True), real, generated, strata)
    assert alone.kl_gain == pytest.approx(between, abs=0.02)


def test_the_expected_effective_share_is_that_of_the_weights() -> None:
    """1/E_q[w²] with w = ŵ·p_c/q_c: Σ p_c²/q_c times exp(½²)."""
    (real, generated), strata = sides()
    share = effective_shares([Weighting(stratify=True)], real, generated, 10**9, strata).item()
    expected = 1 / (math.exp(0.25) * (P**2 / Q).sum().item())
    assert share == pytest.approx(expected, rel=0.05)
    weights = Weighting(stratify=True)(generated, strata[1])
    assert effective_sample_size(weights).item() / len(weights) == pytest.approx(expected, rel=0.05)


def test_the_gate_matches_shares_even_where_the_ratio_says_nothing() -> None:
    (real, generated), strata = sides(4000, slope=0.0)
    noise = torch.Generator().manual_seed(1)
    real, generated = (x + 1e-3 * torch.randn(len(x), dtype=torch.float64, generator=noise) for x in (real, generated))
    choice = choose(real, generated, STRATIFIED_GRID, strata=strata)
    assert choice.verdict == CORRECTS
    assert choice.weighting.stratify


def test_a_class_without_rows_leaves_the_others_in_proportion() -> None:
    strata = Strata(torch.tensor([0, 0, 1, 1, 1]), torch.tensor([10, 30, 60]))
    weights = Weighting(0.0, stratify=True)(torch.zeros(5), strata)
    sums = class_sums(weights, strata)
    assert sums[1] / sums[0] == pytest.approx(30.5 / 10.5)
    assert weights.sum() == pytest.approx(1)
    assert strata.lacking.tolist() == [2]
    assert strata.lacking_in_words() == (
        "; without generated rows, and so without their share (60.0% of real rows): class 2"
    )


def test_a_class_without_real_rows_has_almost_no_weight() -> None:
    strata = Strata(torch.tensor([0, 1, 2]), torch.tensor([500, 500, 0]))
    weights = Weighting(0.0, stratify=True)(torch.zeros(3), strata)
    assert 0 < weights[2] < 1e-3
    assert not strata.lacking_in_words()


def test_a_class_of_tiny_weights_has_its_share_too() -> None:
    """Its weights are 0 in float64 beside the largest one."""
    strata = Strata(torch.tensor([0, 0, 1, 1]), torch.tensor([1, 3]))
    weights = Weighting(stratify=True)(torch.tensor([-900.0, -900.0, 700.0, 710.0]), strata)
    torch.testing.assert_close(class_sums(weights, strata), strata.shares)
    torch.testing.assert_close(weights[0], weights[1])


def test_rows_and_blocks() -> None:
    strata = Strata(torch.tensor([2, 0, 1]), torch.tensor([1, 2, 3]))
    assert strata[torch.tensor([2, 0])].of_row.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Strata(torch.tensor([0, 3]), torch.tensor([1, 1, 1])), "classes 0 … 3 must lie in 0 … 2"),
        (lambda: Strata(torch.tensor([-1, 0]), torch.tensor([1, 1])), "classes -1 … 0 must lie in 0 … 1"),
        (
            lambda: Strata(torch.tensor([1, 1]), torch.tensor([5, 0])),
            "none of 2 rows is of a class that a real row has",
        ),
        (lambda: Strata(torch.tensor([0, 1]), torch.tensor([2, -1])), "the smallest count is -1"),
        (lambda: Strata(torch.tensor([], dtype=torch.long), torch.tensor([1])), "of_row must be a non-empty vector"),
        (lambda: Weighting(stratify=True)(torch.zeros(3)), "expected the class of each of 3 rows, none given"),
        (
            lambda: Weighting(stratify=True)(torch.zeros(3), Strata(torch.tensor([0, 0]), torch.tensor([1]))),
            "expected the class of each of 3 rows, 2 given",
        ),
    ],
)
def test_mistakes_are_named(make, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        make()
