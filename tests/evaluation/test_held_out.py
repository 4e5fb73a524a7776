"""What held-out rows say of a classifier."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import hypergeom

from lfiw.errors import InputError
from lfiw.evaluation.recording import chasm_warning, held_out_scores
from lfiw.metrics.class_proportions import RatioScores
from lfiw.weighting.diagnostics import (
    balanced_accuracy,
    balanced_log_loss,
    mean_one,
    rank_test,
    top_share,
    two_sample_test,
)


def gaussians(shift: float, n: int = 4000, m: int = 3000) -> tuple[torch.Tensor, torch.Tensor]:
    """Exact log-ratios of N(shift, 1) against N(0, 1)."""
    g = torch.Generator().manual_seed(0)
    real, generated = (torch.randn(size, dtype=torch.float64, generator=g) for size in (n, m))
    return shift * (real + shift) - shift**2 / 2, shift * generated - shift**2 / 2


def test_the_exact_ratio() -> None:
    real, generated = gaussians(1.0)
    found = held_out_scores((3 * real, 3 * generated), (real, generated))
    assert (found.num_real, found.num_generated) == (4000, 3000)
    # Bayes' accuracy Φ(shift/2); both means 1
    assert found.accuracy == pytest.approx(0.5 * (1 + math.erf(0.5 / 2**0.5)), abs=0.02)
    assert found.two_sample_p_value < 1e-10
    assert not found.density_chasm
    assert found.calibrated.mean_weight_generated == pytest.approx(1, abs=0.1)
    assert found.calibrated.mean_inverse_weight_real == pytest.approx(1, abs=0.1)
    assert found.raw.mean_weight_generated > 5
    for name in ("log_loss", "calibration_error", "max_calibration_error"):
        assert getattr(found.calibrated, name) < getattr(found.raw, name)
    assert chasm_warning(found) is None


def test_the_scores_are_those_of_training() -> None:
    real, generated = gaussians(0.7)
    scores = RatioScores()
    scores.update(torch.cat([real, generated]), torch.arange(7000) < 4000)
    logged, found = scores.compute(), held_out_scores((real, generated), (real, generated)).raw
    for name in ("log_loss", "calibration_error", "mean_weight_generated", "mean_inverse_weight_real"):
        assert getattr(found, name) == pytest.approx(logged[name].item(), rel=1e-12)
    assert balanced_log_loss(real, generated) == logged["log_loss"]
    assert mean_one(real, generated)[0] == logged["mean_weight_generated"]
    assert balanced_accuracy(real, generated) == logged["accuracy"]


def test_a_chasm_is_told() -> None:
    real, generated = gaussians(5.0)
    found = held_out_scores((real, generated), (real, generated))
    assert found.density_chasm
    assert "99." in str(chasm_warning(found))


def test_the_two_sample_test_is_hypergeometric() -> None:
    real, generated = torch.tensor([1.0] * 14 + [-1.0] * 6), torch.tensor([1.0] * 9 + [-1.0] * 21)
    # P(at least 14 of the 23 rows called real are among the 20 real ones of 50)
    assert two_sample_test(real, generated).item() == pytest.approx(hypergeom.sf(13, 50, 20, 23), rel=1e-9)


def test_the_two_sample_test_keeps_its_level() -> None:
    g = torch.Generator().manual_seed(1)
    values = [two_sample_test(torch.randn(300, generator=g), torch.randn(200, generator=g)).item() for _ in range(600)]
    assert np.mean(np.array(values) < 0.05) <= 0.07
    assert np.mean(np.array(values) < 0.5) == pytest.approx(0.47, abs=0.08)


def test_top_share() -> None:
    weights = torch.ones(1000)
    assert top_share(weights).item() == pytest.approx(0.01)
    weights[5] = 1000
    assert top_share(weights, 0.001).item() == pytest.approx(1000 / 1999)
    assert top_share(torch.tensor([3.0, 1.0])).item() == 0.75  # at least one
    assert top_share(weights.double() * 1e-300).item() == pytest.approx(top_share(weights).item())
    for fraction in (0.0, 1.5):
        with pytest.raises(InputError, match="fraction"):
            top_share(weights, fraction)


def test_the_rank_test_counts_pairs() -> None:
    # by its definition: U pairs in the right order, ties half, against its normal limit with the correction for ties
    g = torch.Generator().manual_seed(3)
    real, generated = (torch.randint(0, 9, (size,), generator=g).double() for size in (70, 50))
    real += 1
    n, m = len(real), len(generated)
    pairs = real[:, None] - generated
    u = (pairs > 0).sum() + 0.5 * (pairs == 0).sum()
    ties = torch.bincount(torch.cat([real, generated]).long()).double()
    variance = n * m / 12 * ((n + m + 1) - (ties**3 - ties).sum() / ((n + m) * (n + m - 1)))
    expected = torch.special.ndtr(-(u - n * m / 2 - 0.5) / variance.sqrt())  # half a pair for continuity
    assert rank_test(real, generated).item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_rank_test_keeps_its_level() -> None:
    g = torch.Generator().manual_seed(6)
    values = [rank_test(torch.randn(300, generator=g), torch.randn(200, generator=g)).item() for _ in range(600)]
    share = np.mean(np.array(values) <= 0.05)
    assert abs(share - 0.05) < 3 * (0.05 * 0.95 / 600) ** 0.5
