"""Scores of a ratio classifier against scikit-learn, and over batches and processes."""

from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_expit
from torch import Tensor

from lfiw import InputError
from lfiw.metrics.class_proportions import RatioScores

ROWS = st.tuples(st.integers(1, 60), st.integers(1, 60), st.floats(0.1, 30), st.integers(0, 1000))


def rows(num_real: int, num_generated: int, scale: float, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    n = num_real + num_generated
    is_real = torch.zeros(n, dtype=torch.bool)
    is_real[torch.randperm(n, generator=generator)[:num_real]] = True
    log_ratio = scale * torch.randn(n, generator=generator, dtype=torch.float64) + is_real
    return (log_ratio * 8).round() / 8, is_real  # with ties


def compute(log_ratio: Tensor, is_real: Tensor, batches: int = 1) -> dict[str, float]:
    scores = RatioScores()
    for a, b in zip(log_ratio.tensor_split(batches), is_real.tensor_split(batches), strict=True):
        scores.update(a, b)
    found = scores.compute()
    assert all(v.dtype == torch.float64 and v.ndim == 0 for v in found.values())
    return {name: value.item() for name, value in found.items()}


def expected_calibration_error(probability: np.ndarray, is_real: np.ndarray, bins: int = 15) -> float:
    """Σ_b n_b/n |share of real rows − mean probability| (Naeini et al. 2015), one bin after another."""
    total = 0.0
    for b in range(bins):
        inside = (probability > b / bins if b else probability >= 0) & (probability <= (b + 1) / bins)
        if inside.any():
            total += inside.mean() * abs(is_real[inside].mean() - probability[inside].mean())
    return total


@settings(deadline=None, max_examples=40)
@given(ROWS, st.integers(1, 5))
def test_against_scikit_learn(sizes: tuple[int, int, float, int], batches: int) -> None:
    log_ratio, is_real = rows(*sizes)
    got = compute(log_ratio, is_real, batches)
    x, y = log_ratio.numpy(), is_real.numpy()
    sides = (y / y.sum() + ~y / (~y).sum()) / 2  # both sides have half of the weight
    # scikit-learn takes log(1 − p) of a rounded p: 1e-16/e⁻¹⁰ of its value is lost at log-odds of 10
    if np.abs(x).max() < 10:
        assert got["log_loss"] == pytest.approx(sklearn.metrics.log_loss(y, expit(x), sample_weight=sides), rel=1e-9)
    assert got["log_loss"] == pytest.approx(-np.sum(sides * log_expit(np.where(y, x, -x))), rel=1e-12)
    assert got["brier"] == pytest.approx(sklearn.metrics.brier_score_loss(y, expit(x), sample_weight=sides), rel=1e-12)
    assert got["accuracy"] == pytest.approx(sklearn.metrics.balanced_accuracy_score(y, x > 0), rel=1e-12)
    # the area is a sum over at most 120 thresholds in torchmetrics' float32 rates
    assert got["auroc"] == pytest.approx(sklearn.metrics.roc_auc_score(y, x), abs=1e-6)
    assert got["mean_weight_generated"] == pytest.approx(np.exp(x[~y]).mean(), rel=1e-12)
    assert got["mean_inverse_weight_real"] == pytest.approx(np.exp(-x[y]).mean(), rel=1e-12)


@settings(deadline=None)
@given(ROWS)
@example((18, 2, 15.0, 142))  # probabilities that are 1 in float64 belong to the last bin
def test_calibration_error_at_the_rows_own_odds(sizes: tuple[int, int, float, int]) -> None:
    log_ratio, is_real = rows(*sizes)
    x = log_ratio.numpy() + 1e-3  # away from the bins' edges, which rounding may put on either side
    probability = expit(x + np.log(is_real.sum().item() / (~is_real).sum().item()))
    if np.abs(probability * 15 - np.round(probability * 15)).min() < 1e-5 and probability.min() > 1e-5:
        return
    got = compute(torch.from_numpy(x), is_real)["calibration_error"]
    edge = np.minimum(probability, 1 - probability) > 1e-5
    if np.abs(probability * 15 - np.round(probability * 15))[edge].min(initial=1) < 1e-5:
        return
    assert got == pytest.approx(expected_calibration_error(probability, is_real.numpy()), abs=1e-6)


def test_auroc_of_a_very_confident_classifier() -> None:
    """Probabilities of log-odds above 37 round to 1: the order is in the log-ratios."""
    log_ratio = torch.tensor([50.0, 45, 40, 39, 38, 60, -900, -800], dtype=torch.float64)
    is_real = torch.tensor([1, 0, 1, 0, 0, 1, 0, 1], dtype=torch.bool)
    assert compute(log_ratio, is_real)["auroc"] == sklearn.metrics.roc_auc_score(is_real, log_ratio) == 0.75


def test_both_sides_count_the_same() -> None:
    log_ratio, is_real = rows(30, 20, 2.0, 0)
    real, generated = log_ratio[is_real], log_ratio[~is_real]
    more = torch.cat([real, generated.repeat(7)]), torch.tensor([True] * 30 + [False] * 140)
    once, often = compute(log_ratio, is_real), compute(*more)
    for name in ("log_loss", "brier", "accuracy", "auroc", "mean_weight_generated"):
        assert often[name] == pytest.approx(once[name], abs=1e-6), name


def test_chance_and_the_exact_ratio() -> None:
    got = compute(torch.zeros(10, dtype=torch.float64), torch.arange(10) < 3)
    assert got["log_loss"] == pytest.approx(np.log(2), rel=1e-12)
    assert got["auroc"] == 0.5
    assert got["calibration_error"] == pytest.approx(0, abs=1e-7)  # at 3 : 7, the rows' own odds
    assert got["mean_weight_generated"] == got["mean_inverse_weight_real"] == 1
    # N(1, 1) against N(0, 1): log ratio x − ½; n = 200,000, Var[ŵ] = e − 1
    x = torch.randn(400_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    is_real = torch.arange(400_000) < 200_000
    got = compute(x + is_real - 0.5, is_real)
    assert got["mean_weight_generated"] == pytest.approx(1, abs=5 * np.sqrt((np.e - 1) / 200_000))
    assert got["mean_inverse_weight_real"] == pytest.approx(1, abs=5 * np.sqrt((np.e - 1) / 200_000))
    assert got["calibration_error"] < 0.006  # 15 bins of ±√(¼·15/400,000) at most, five of them


@pytest.mark.parametrize("is_real", [[], [True, True], [False]])
def test_a_side_without_rows(is_real: list[bool]) -> None:
    scores = RatioScores()
    scores.update(torch.zeros(len(is_real)), torch.tensor(is_real, dtype=torch.bool))
    with pytest.raises(InputError, match="scores need rows of both sides"):
        scores.compute()


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_no_rows_at_all() -> None:
    with pytest.raises(InputError, match="scores need rows of both sides, there are none"):
        RatioScores().compute()


def test_reset() -> None:
    scores = RatioScores()
    scores.update(torch.ones(3), torch.tensor([True, False, False]))
    scores.reset()
    scores.update(torch.zeros(2), torch.tensor([True, False]))
    assert scores.compute()["log_loss"].item() == pytest.approx(np.log(2))


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    log_ratio, is_real = rows(20, 31, 3.0, 0)
    results = []
    for cuts in ((0, 20, 51), (0, 51, 51)):  # uneven, and a process whose only batch is empty
        mine = slice(cuts[rank], cuts[rank + 1])
        scores = RatioScores()
        scores.update(log_ratio[mine], is_real[mine])
        results.append(scores.compute())
    torch.save(results, f"{folder}/results{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    mp.spawn(process, args=(str(tmp_path),), nprocs=2)
    expected = compute(*rows(20, 31, 3.0, 0))
    for rank in range(2):
        for found in torch.load(tmp_path / f"results{rank}.pt"):
            # the same rows in another order: rounding only
            assert {name: value.item() for name, value in found.items()} == pytest.approx(expected, rel=1e-12)
