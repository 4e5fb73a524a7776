"""Scoring from tensors: what a notebook has, without a run, a configuration or files."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from lfiw import InputError
from lfiw.evaluation.module import FeatureColumn
from lfiw.evaluation.scored_rows import ScoredRows
from lfiw.evaluation.scoring import score
from lfiw.evaluation.tables import print_evaluation
from lfiw.schemas import Evaluation, WeightingSpec
from lfiw.weighting.calibration import Validation


def frechet(real, generated, weights):
    """By numpy and scipy alone."""
    means = real.mean(0), weights @ generated
    covariances = np.cov(real.T), np.cov(generated.T, aweights=weights)
    difference = means[0] - means[1]
    return difference @ difference + np.trace(
        covariances[0] + covariances[1] - 2 * sqrtm(covariances[0] @ covariances[1]).real
    )


def samples(generator: torch.Generator, num: int, shift: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Gaussian rows, and their exact log-ratio of N(½, 1) against N(0, 1) in each of three dimensions."""
    rows = torch.randn(num, 3, generator=generator, dtype=torch.float64) + shift
    return rows, (0.5 * rows - 0.125).sum(1)


def test_tensors_are_scored_as_numpy_and_scipy_do() -> None:
    generator = torch.Generator().manual_seed(0)
    real, _ = samples(generator, 600, 0.5)
    generated, log_ratio = samples(generator, 800, 0.0)
    sides = samples(generator, 500, 0.5)[1], samples(generator, 500, 0.0)[1]
    rows = ScoredRows.of_tensors({"features": real}, {"features": generated}, log_ratio)
    record = score(rows, Validation(sides, sides), [FeatureColumn("features", 3)], options=Evaluation(exponents=[]))
    assert record.num_real == 600
    assert record.num_generated == 800
    weights = {"uniform": np.full(800, 1 / 800), "auto": torch.softmax(log_ratio, 0).numpy()}
    for weighting in record.weightings:
        found = {str(metric): s.value for metric, s in weighting.metrics.items()}
        if weighting.name == "uniform" or not weighting.smooth:
            expected = frechet(real.numpy(), generated.numpy(), weights[weighting.name])
            assert found["fid"] == pytest.approx(expected, rel=1e-9)
    fid = {w.name: next(s.value for m, s in w.metrics.items() if str(m) == "fid") for w in record.weightings}
    assert fid["auto"] < fid["uniform"] / 4


def test_a_weighting_that_is_not_there_is_named() -> None:
    rows = ScoredRows.of_tensors({"f": torch.randn(20, 2)}, {"f": torch.randn(20, 2)}, torch.zeros(20))
    sides = torch.randn(30, dtype=torch.float64), torch.randn(30, dtype=torch.float64)
    with pytest.raises(InputError, match="weighting=half: no such weighting; there are uniform, auto"):
        score(rows, Validation(sides, sides), [FeatureColumn("f", 2)], weighting="half")


def test_a_score_that_float64_cannot_hold_is_lost_with_a_reason_and_the_others_stay(capsys) -> None:
    generator = torch.Generator().manual_seed(1)
    real, _ = samples(generator, 300, 0.5)
    generated, log_ratio = samples(generator, 400, 0.0)
    sides = samples(generator, 300, 0.5)[1], samples(generator, 300, 0.0)[1]
    rows = ScoredRows.of_tensors(
        {"f": real, "huge": 1e170 * real}, {"f": generated, "huge": 1e170 * generated}, log_ratio
    )
    columns = [FeatureColumn("f", 3), FeatureColumn("huge", 3, "@huge")]
    record = score(rows, Validation(sides, sides), columns)
    assert {str(metric) for metric in record.lost or {}} == {"fid@huge", "kid@huge"}
    assert all("overflow" in reason for reason in (record.lost or {}).values())
    content = record.to_json()["weightings"][0]["metrics"]
    assert content["fid@huge"]["value"] is None
    assert content["fid"]["value"] == pytest.approx(frechet(real.numpy(), generated.numpy(), np.full(400, 1 / 400)))
    print_evaluation(record)
    out = capsys.readouterr().out
    assert "FID ↓ @huge –: " in out


def one_heavy_row(spread: float) -> tuple[ScoredRows, Validation]:
    """Scored rows of which one has a log-ratio of 100, and validation rows that know nothing of it."""
    generator = torch.Generator().manual_seed(2)
    real, _ = samples(generator, 600, 0.5)
    generated, log_ratio = samples(generator, 800, 0.0)
    sides = samples(generator, 500, 0.5)[1], samples(generator, 500, 0.0)[1]
    log_ratio = spread * log_ratio
    log_ratio[7] = 100.0
    return ScoredRows.of_tensors({"f": real}, {"f": generated}, log_ratio), Validation(sides, sides)


def test_a_weighting_whose_weight_one_row_carries_is_left_out(capsys) -> None:
    rows, validation = one_heavy_row(1.0)
    options = Evaluation(
        weightings=[WeightingSpec("plain"), WeightingSpec("half", flatten=0.5), WeightingSpec("flat", flatten=0.01)],
        exponents=[0.0, 0.02, 0.5, 1.0],
        permutations=2,
    )
    record = score(rows, validation, [FeatureColumn("f", 3)], options=options)
    assert record.left_out == ("plain", "half")
    assert [w.name for w in record.weightings] == ["uniform", "flat", "auto"]
    assert record.flattening is not None
    assert record.flattening.exponents == (0.0, 0.02)
    assert all(np.isfinite(s.value) for w in record.weightings for s in w.metrics.values())
    assert "do not trust the weighted scores" in (record.summary or "")  # of auto, which smoothing keeps from one row
    print_evaluation(record)
    assert "plain –: one row carries all of its weight" in capsys.readouterr().out
    with pytest.raises(InputError, match="weighting=half: one scored row carries all of its weight"):
        score(rows, validation, [FeatureColumn("f", 3)], options=options, weighting="half")


def test_what_the_gate_chose_is_given_up_where_one_row_carries_all() -> None:
    """The validation rows know nothing of that row, and twenty rows have no tail to smooth."""
    rows, validation = one_heavy_row(1.0)
    few = rows.block(torch.arange(20))
    record = score(few, validation, [FeatureColumn("f", 3)], options=Evaluation(exponents=[], permutations=0))
    assert record.chosen.is_uniform
    assert record.reason == "one scored row carries all weight of ŵ"
    assert record.left_out is None


def test_a_weighting_without_weight_among_compared_rows_is_left_out() -> None:
    """KID compares some of the rows; none of them has the heavy row's weight beside it."""
    rows, validation = one_heavy_row(0.0)
    options = Evaluation(weightings=[WeightingSpec("steep", flatten=20.0)], exponents=[], permutations=0, pair_rows=100)
    record = score(rows, validation, [FeatureColumn("f", 3)], options=options)
    assert record.left_out == ("steep",)
