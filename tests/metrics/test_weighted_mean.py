"""Means with intervals: of weighted rows, of real ones, and of both."""

import numpy as np
import pytest
import torch
from scipy import stats

from lfiw import InputError, weighted_mean


def draw(n: int, m: int, seed: int, bias: float = 0.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x of N(1, 1) and of N(0, 1), and the log-ratio of the second; exact without a bias of its slope."""
    z = torch.randn(n + m, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    real, generated = z[:n] + 1, z[n:]
    return real, generated, (1 + bias) * generated


def test_uniform_weights_and_real_rows_have_students_interval() -> None:
    real, generated, _ = draw(40, 60, 0)
    found = weighted_mean(generated, weights=torch.ones(60), real=real)
    assert found.real is not None
    for interval, rows in ((found.uniform, generated), (found.real, real)):
        error = stats.sem(rows.numpy())
        assert interval.value.item() == pytest.approx(rows.mean().item())
        # the degrees of freedom are those of the rows' fourth moments, not n − 1
        assert interval.half_width.item() == pytest.approx(1.96 * error, rel=0.1)


def test_weighted_means_are_numpys() -> None:
    _, generated, log_ratio = draw(10, 2000, 1)
    values = torch.stack([generated, generated**2], dim=1)
    weights = np.exp(log_ratio.numpy())
    found = weighted_mean(values, weights=torch.from_numpy(weights))
    np.testing.assert_allclose(found.ratio_fixed.value, np.average(values.numpy(), axis=0, weights=weights), rtol=1e-12)
    w = weights / weights.sum()
    gaps = values.numpy() - found.ratio_fixed.value.numpy()
    expected = np.sqrt((w[:, None] ** 2 * gaps**2).sum(0))  # Owen, Monte Carlo theory, equation (9.9)
    np.testing.assert_allclose(found.ratio_fixed.half_width, 1.96 * expected, rtol=0.1)
    assert found.with_ratio_error is None


def test_values_far_from_zero_keep_their_digits() -> None:
    real, generated, log_ratio = draw(500, 500, 2)
    near, far = (weighted_mean(generated + c, log_ratio, real=real + c) for c in (0.0, 1e9))
    assert near.auto is not None
    assert far.auto is not None
    torch.testing.assert_close(far.auto - 1e9, near.auto, rtol=0, atol=1e-6)
    torch.testing.assert_close(far.ratio_fixed.half_width, near.ratio_fixed.half_width, rtol=1e-5, atol=0)


@pytest.mark.parametrize("bias", [0.0, 0.1, 0.3, 1.0])
def test_the_interval_with_the_ratios_error_holds_the_truth_and_the_fixed_one_does_not(bias: float) -> None:
    """400 repetitions: 95 % within three standard errors of a proportion, or more."""
    held = np.zeros(2)
    for seed in range(400):
        real, generated, log_ratio = draw(300, 3000, seed, bias)
        found = weighted_mean(generated, log_ratio, real=real)
        assert found.with_ratio_error is not None
        held += [found.with_ratio_error.holds(torch.ones(1)).item(), found.ratio_fixed.holds(torch.ones(1)).item()]
    assert held[0] / 400 >= 0.91 - 3 * (0.09 * 0.91 / 400) ** 0.5
    if bias >= 0.3:
        assert held[1] / 400 < 0.5


def test_errors_are_at_most_those_of_the_better_source() -> None:
    """Mean squared errors over 300 repetitions, for a good ratio and for a useless one."""
    for slope, best in ((0.0, "weighted"), (-1.0, "uniform"), (3.0, "uniform")):
        errors: dict[str, list[float]] = {name: [] for name in ("uniform", "weighted", "auto", "real", "combined")}
        for seed in range(300):
            real, generated, log_ratio = draw(3000, 3000, seed, slope)
            found = weighted_mean(generated, log_ratio, real=real)
            assert found.real is not None
            assert found.auto is not None
            assert found.with_ratio_error is not None
            for name, value in zip(
                errors,
                (
                    found.uniform.value,
                    found.ratio_fixed.value,
                    found.auto,
                    found.real.value,
                    found.with_ratio_error.value,
                ),
                strict=True,
            ):
                errors[name].append((value.item() - 1) ** 2)
        mean = {name: np.mean(values) for name, values in errors.items()}
        assert mean["auto"] <= 1.05 * min(mean["uniform"], mean["weighted"]), (slope, best, mean)
        assert mean["combined"] <= 1.05 * mean["real"]


def test_a_constant_has_no_error() -> None:
    found = weighted_mean(torch.full((50,), 3.0), torch.randn(50), real=torch.full((20,), 3.0))
    assert found.with_ratio_error is not None
    assert found.auto is not None
    for value in (found.uniform.value, found.ratio_fixed.value, found.auto, found.with_ratio_error.value):
        assert value.item() == 3.0
    assert "with the ratio's error" in str(found)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (torch.randn(5), {}, "either log_ratio or weights"),
        (torch.randn(5), {"log_ratio": torch.zeros(4)}, "5 rows of values, but 4 weights"),
        (torch.randn(5, 2), {"log_ratio": torch.zeros(5), "real": torch.randn(9)}, "2 functions, real has 1"),
        (torch.randn(1), {"log_ratio": torch.zeros(1)}, "at least 2 rows"),
        (torch.full((5,), torch.nan), {"log_ratio": torch.zeros(5)}, "values: 5 of 5 values are NaN"),
        (torch.randn(5), {"log_ratio": torch.zeros(5), "real": torch.full((3,), torch.inf)}, "real: 3 of 3"),
    ],
)
def test_wrong_input_is_named(values: torch.Tensor, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        weighted_mean(values, **options)
