"""A ratio of drawings: fitted on features of known densities, scored, and on disk."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm

from lfiw import InputError
from lfiw.tasks.augmentation.character_embedding import Embedding
from lfiw.tasks.augmentation.likeness import MARGIN
from lfiw.tasks.augmentation.source_ratio import SHARES, SourceRatio, fit_coefficients, log_odds

OPTIONS = {"shape": (1, 16, 16), "width": 8, "features": 4}


def gaussian_sides(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Real rows have mean 1 in the margin, generated ones mean −1: log-ratio 2x for unit variance."""
    source = torch.Generator().manual_seed(seed)
    real, generated = (torch.randn(m, 9, generator=source, dtype=torch.float64) for m in (n, 3 * n))
    real[:, MARGIN] += 1
    generated[:, MARGIN] -= 1
    return real, generated


def test_coefficients_are_those_of_the_exact_ratio() -> None:
    coefficients, held_out = fit_coefficients(gaussian_sides(20_000, 0), gaussian_sides(20_000, 1))
    expected = np.zeros(10)
    expected[MARGIN] = 2
    np.testing.assert_allclose(coefficients.numpy(), expected, atol=0.1)
    shares = held_out.shares()
    assert shares["recognised_real"] == pytest.approx(norm.cdf(1), abs=0.01)
    assert shares["recognised"] == pytest.approx(norm.cdf(-1), abs=0.01)
    assert shares["recognised_by_weight"] == pytest.approx(norm.cdf(1), abs=0.05)  # weighted, they are the real ones


def ratio() -> SourceRatio:
    torch.manual_seed(0)
    embedding = Embedding(**OPTIONS).eval()
    return SourceRatio(embedding, OPTIONS, torch.arange(10, dtype=torch.float64), 5, dict.fromkeys(SHARES, 0.5))


def test_a_saved_ratio_scores_as_before(tmp_path: Path) -> None:
    first = ratio()
    first.save(tmp_path / "ratio.safetensors")
    again = SourceRatio.load(tmp_path / "ratio.safetensors")
    images = torch.randint(0, 256, (12, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    arguments = images, torch.arange(3).repeat_interleave(4), images.flip(3), torch.arange(12)
    assert torch.equal(again.log_ratio(*arguments), first.log_ratio(*arguments))
    assert again.held_out == first.held_out
    with pytest.raises(InputError, match=r"does not exist: make it by train\.py experiment=omniglot_ratio"):
        SourceRatio.load(tmp_path / "none.safetensors")


def test_drawings_that_a_ratio_cannot_score() -> None:
    images = torch.zeros(4, 1, 16, 16, dtype=torch.uint8)
    with pytest.raises(InputError, match="3 or more drawings of each character, got 2"):
        ratio().log_ratio(images, torch.tensor([0, 0, 1, 1]), images, torch.arange(4))
    other = torch.zeros(6, 1, 28, 28, dtype=torch.uint8)
    with pytest.raises(InputError, match=r"the ratio is of drawings \(1, 16, 16\), these are \(1, 28, 28\)"):
        ratio().log_ratio(other, torch.arange(2).repeat_interleave(3), other, torch.arange(6))


def test_log_odds_are_linear() -> None:
    features = torch.randn(3, 9, dtype=torch.float64)
    found = log_odds(features, torch.arange(10, dtype=torch.float64))
    np.testing.assert_allclose(found.numpy(), features.numpy() @ np.arange(9) + 9)
