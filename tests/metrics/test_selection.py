"""The gate that asks the scores."""

import numpy as np
import pytest
import torch

from lfiw import Weighting
from lfiw.data.splits import Subset, everything
from lfiw.data.table import TensorTable
from lfiw.metrics.selection import JUDGING_ROWS, Judge, JudgingRows, choose_by_judges, choose_by_kernel_distance
from lfiw.weighting.calibration import Validation
from lfiw.weighting.gate import CANNOT, CORRECTS, NOTHING
from lfiw.weighting.strata import Strata


def rows(n: int, shift: float, seed: int) -> torch.Tensor:
    return torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + shift


def log_ratio(x: torch.Tensor, slope: float = 0.5) -> torch.Tensor:
    """Of N(½, 1) against N(0, 1) in each of two dimensions; exact at that slope."""
    return (slope * x - slope**2 / 2).sum(1)


REAL, GENERATED = rows(1500, 0.5, 0), rows(1500, 0.0, 1)


def naive_kid(real: np.ndarray, generated: np.ndarray, w: np.ndarray) -> float:
    """The unbiased squared MMD with weights, pair by pair."""

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(x: np.ndarray, v: np.ndarray) -> float:
        pairs = np.outer(v, v)
        np.fill_diagonal(pairs, 0)
        return (pairs * kernel(x, x)).sum() / pairs.sum()

    v = np.full(len(real), 1 / len(real))
    return within(real, v) + within(generated, w) - 2 * v @ kernel(real, generated) @ w


def test_gains_are_differences_of_the_unbiased_kid() -> None:
    judge = Judge("x", REAL[:200], GENERATED[:150], log_ratio(GENERATED[:150]))
    gains, errors, before = judge.gains([Weighting(), Weighting(flatten=0.5)])
    x, y = REAL[:200].numpy(), GENERATED[:150].numpy()
    uniform = naive_kid(x, y, np.full(150, 1 / 150))
    assert before == pytest.approx(uniform, rel=1e-9)
    for gain, alpha in zip(gains, (1.0, 0.5), strict=True):
        w = np.exp(alpha * judge.log_ratio.numpy())
        assert gain == pytest.approx(uniform - naive_kid(x, y, w / w.sum()), rel=1e-9)
    assert min(errors) > 0


def test_the_exact_ratio_is_taken_as_it_is() -> None:
    judge = Judge("x", REAL, GENERATED, log_ratio(GENERATED))
    choice = choose_by_kernel_distance([judge], log_ratio(REAL), log_ratio(GENERATED))
    assert (choice.verdict, choice.weighting) == (CORRECTS, Weighting(smooth=True))
    assert "lowers the KID (x) by" in choice.reason


def test_an_overconfident_ratio_is_flattened() -> None:
    """Three times the exact log-ratio: its best exponent is a third."""
    steep = [3 * log_ratio(x) for x in (REAL, GENERATED)]
    choice = choose_by_kernel_distance([Judge("x", REAL, GENERATED, steep[1])], *steep)
    assert choice.verdict == CORRECTS
    assert 0.2 <= choice.weighting.flatten <= 0.6


def test_a_ratio_that_points_the_wrong_way_is_refused() -> None:
    wrong = [-log_ratio(x) for x in (REAL, GENERATED)]
    choice = choose_by_kernel_distance([Judge("x", REAL, GENERATED, wrong[1])], *wrong)
    assert choice.weighting.flatten == 0
    assert choice.verdict in (CANNOT, NOTHING)


def test_another_judge_has_a_veto() -> None:
    """Weights that move the first coordinate towards the data move a copy with the opposite sign away from them."""
    first = Judge("seen", REAL, GENERATED, log_ratio(GENERATED))
    mirrored = Judge("unseen", REAL, 0.5 - GENERATED, log_ratio(GENERATED))
    choice = choose_by_kernel_distance([first, mirrored], log_ratio(REAL), log_ratio(GENERATED))
    assert (choice.verdict, choice.weighting.flatten) == (CANNOT, 0.0)
    assert choice.reason == "what lowers the KID (seen) raises that of unseen"


def test_class_shares_are_a_judge() -> None:
    """Logits of two classes by the sign of the first coordinate: the one-hot KID is that of the shares."""
    table = [TensorTable({"logits": torch.stack([x[:, 0], -x[:, 0]], dim=1)}) for x in (REAL, GENERATED)]
    judging = JudgingRows.of(everything(table[0]), everything(table[1]), log_ratio(GENERATED))
    shares = [(x[:, 0] > 0).double().mean().item() for x in (REAL, GENERATED)]
    _, _, before = judging.by_classes("logits").gains([Weighting()])
    # k is 1 between the classes and (1.5)³ within one
    assert before == pytest.approx((1.5**3 - 1) * 2 * (shares[0] - shares[1]) ** 2, abs=0.01)


def test_a_row_of_several_folds_counts_once_with_the_mean_of_its_log_ratios() -> None:
    table = TensorTable({"x": torch.arange(5.0)[:, None]})
    picked = torch.tensor([3, 1, 3, 4])
    judging = JudgingRows.of(Subset(table, picked), Subset(table, picked), torch.tensor([1.0, 5.0, 3.0, 7.0]))
    assert judging.generated.rows.tolist() == judging.real.rows.tolist() == [1, 3, 4]
    assert judging.log_ratio.tolist() == [5.0, 2.0, 7.0]
    many = TensorTable({"x": torch.zeros(2 * JUDGING_ROWS, 1)})
    assert (
        len(JudgingRows.of(everything(many), everything(many), torch.zeros(2 * JUDGING_ROWS)).log_ratio) == JUDGING_ROWS
    )


def test_images_are_judged_by_a_function_of_them() -> None:
    images = torch.randint(0, 256, (6, 3, 16, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    table = everything(TensorTable({"image": images}))
    judge = JudgingRows.of(table, table, torch.zeros(6)).by_images("brightness", lambda x: x.float().mean((2, 3)))
    torch.testing.assert_close(judge.real, images.float().mean((2, 3)))
    assert judge.name == "brightness"


def with_classes(rare: int) -> tuple[Validation, JudgingRows]:
    """Half of the real rows are of class 1, but only so many of the generated ones."""
    counts = torch.tensor([750, 750])
    of_real, of_generated = (torch.zeros(1500, dtype=torch.long) for _ in range(2))
    of_real[:750] = of_generated[:rare] = 1
    strata = Strata(of_real, counts), Strata(of_generated, counts)
    sides = log_ratio(REAL), log_ratio(GENERATED)
    table = [TensorTable({"x": x}) for x in (REAL, GENERATED)]
    judging = JudgingRows.of(everything(table[0]), everything(table[1]), sides[1], strata[1])
    return Validation(sides, sides, strata=strata), judging


@pytest.mark.parametrize(("rare", "matched"), [(500, True), (10, False)])
def test_class_shares_are_matched_if_that_leaves_enough_samples(rare: int, matched: bool) -> None:
    validation, judging = with_classes(rare)
    choice = choose_by_judges([judging.by_features("x", "x")], validation)
    assert (choice.verdict, choice.weighting.stratify) == (CORRECTS, matched)
    assert choice.reason.startswith("on validation rows ŵ")
    if matched:
        assert "with class shares matched lowers the KID (x)" in choice.reason
    else:
        assert "; class shares are not matched: plain weights leave ESS" in choice.reason


def test_rows_of_several_folds_keep_their_class() -> None:
    table = TensorTable({"x": torch.arange(5.0)[:, None]})
    picked = torch.tensor([3, 1, 3, 4])
    strata = Strata(torch.tensor([2, 0, 2, 1]), torch.tensor([1, 1, 1]))
    judging = JudgingRows.of(Subset(table, picked), Subset(table, picked), torch.zeros(4), strata)
    assert judging.strata is not None
    assert judging.strata.of_row.tolist() == [0, 2, 1]  # of rows 1, 3, 4
