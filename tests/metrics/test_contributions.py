"""Contributions against finite differences, closed forms and the bootstrap."""

import inspect
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from lfiw.errors import InputError
from lfiw.metrics import frechet_distance_from_features, inception_score, kernel_distance
from lfiw.metrics.influence import (
    Contributions,
    class_distance_contributions,
    effective_degrees_of_freedom,
    frechet_contributions,
    inception_score_contributions,
    kernel_contributions,
    terms,
)
from lfiw.weighting.diagnostics import half_width

Score = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], Tensor]


def samples(n: int = 300, m: int = 250, d: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    real = torch.randn(n, d, generator=generator) @ torch.diag(torch.tensor([1.0, 2.0, 0.5, 1.5]))
    generated = torch.randn(m, d, generator=generator) + 0.5
    weights = torch.stack([torch.ones(m), torch.rand(m, generator=generator) + 0.2], dim=1).double()
    return real, generated, weights


def probabilities(features: Tensor) -> Tensor:
    return torch.softmax(features.double(), dim=1)


def frechet(real: Tensor, generated: Tensor, v: Tensor, w: Tensor) -> float:
    return frechet_distance_from_features(real, generated, v, w).item()


def kernel(real: Tensor, generated: Tensor, v: Tensor, w: Tensor) -> float:
    return kernel_distance(real, generated, v, w).item()


KINDS = {
    "frechet": (frechet, frechet_contributions),
    "kernel": (kernel, kernel_contributions),
    "inception score": (
        lambda real, generated, v, w: inception_score(probabilities(generated), w).item(),
        lambda real, generated, w: inception_score_contributions(probabilities(generated), w),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_metrics(kind: str) -> None:
    score, contributions = KINDS[kind]
    real, generated, weights = samples()
    found = contributions(real, generated, weights).score
    expected = [score(real, generated, torch.ones(len(real)), column) for column in weights.T]
    assert found.tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_contributions_are_derivatives(kind: str) -> None:
    # d score / d log w_i: what a row's weight adds, which is w̄ᵢ·influence
    score, contributions = KINDS[kind]
    real, generated, weights = samples()
    found = contributions(real, generated, weights)
    step = 1e-3
    for side, given, column in (("generated", weights[:, 1], 1), ("real", torch.ones(len(real)).double(), 1)):
        got = getattr(found, side)
        for row in range(0, len(got), 40):
            values = []
            for sign in (1, -1):
                changed = given.clone()
                changed[row] *= 1 + sign * step
                v, w = (changed, weights[:, 1]) if side == "real" else (torch.ones(len(real)), changed)
                values.append(score(real, generated, v, w))
            normalised = given / given.sum()
            derivative = (values[0] - values[1]) / (2 * step)
            expected = derivative / (1 - normalised[row]).sqrt()
            # the factors 1 − Σw̄² of the covariance and of the pairs also change with a weight, by O(1/n) of a term
            scale = got[:, column].abs().max()
            assert got[row, column].item() == pytest.approx(expected.item(), abs=0.02 * scale.item())


def test_every_frechet_term_is_that_of_autograd() -> None:
    # the correction 1 − Σw̄² held fixed, as the influence of a distribution has it
    generator = torch.Generator().manual_seed(7)
    real = torch.randn(80, 5, generator=generator).double() @ torch.randn(5, 5, generator=generator).double()
    generated = torch.randn(70, 5, generator=generator).double() @ torch.randn(5, 5, generator=generator).double() + 0.3
    logs = [torch.randn(n, dtype=torch.float64, generator=generator) * 0.5 for n in (80, 70)]
    moments, normalised = [], []
    for x, log_weights in zip((real, generated), logs, strict=True):
        w = torch.softmax(log_weights.requires_grad_(), dim=0)
        mean = w @ x
        covariance = (x - mean).T @ (w[:, None] * (x - mean)) / (1 - w.detach().square().sum())
        moments += [mean, covariance]
        normalised.append(w.detach())
    mean_a, cov_a, mean_b, cov_b = moments
    root = torch.linalg.cholesky(cov_a)
    nuclear = torch.linalg.eigvalsh(root.T @ cov_b @ root).sqrt().sum()
    score = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * nuclear
    gradients = torch.autograd.grad(score, logs)

    v, w = normalised
    found = frechet_contributions(real, generated, w[:, None], v)
    assert found.score.item() == pytest.approx(score.item(), rel=1e-9)
    for got, gradient, weights in ((found.real, gradients[0], v), (found.generated, gradients[1], w)):
        expected = gradient / (1 - weights).sqrt()
        torch.testing.assert_close(got[:, 0], expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("kind", ["frechet", "kernel"])
def test_real_weights(kind: str) -> None:
    score, contributions = KINDS[kind]
    real, generated, weights = samples()
    plain = contributions(real, generated, weights)
    ones = contributions(real, generated, weights, torch.full((len(real),), 7.0))
    torch.testing.assert_close(ones.real, plain.real)

    v = torch.rand(len(real), dtype=torch.float64, generator=torch.Generator().manual_seed(5)) + 0.2
    found = contributions(real, generated, weights, v)
    expected = [score(real, generated, v, column) for column in weights.T]
    assert found.score.tolist() == pytest.approx(expected, rel=1e-9)
    step, normalised = 1e-3, v / v.sum()
    for row in range(0, len(real), 40):
        up, down = v.clone(), v.clone()
        up[row] *= 1 + step
        down[row] *= 1 - step
        derivative = (
            (score(real, generated, up, weights[:, 1]) - score(real, generated, down, weights[:, 1])) / 2 / step
        )
        expected_term = derivative / (1 - normalised[row].item()) ** 0.5
        assert found.real[row, 1].item() == pytest.approx(expected_term, abs=0.02 * found.real[:, 1].abs().max().item())


def test_few_effective_real_rows_have_no_error() -> None:
    real, generated, weights = samples()
    v = torch.full((len(real),), 1e-9)
    v[:7] = 1
    assert not torch.isfinite(frechet_contributions(real, generated, weights, v).standard_errors()).any()


def test_weighted_mean() -> None:
    # uniform weights give the unbiased s²/n exactly
    values = torch.randn(50, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    uniform = torch.full((50, 1), 1 / 50, dtype=torch.float64)
    found = terms(values, uniform).square().sum().sqrt().item()
    assert found == pytest.approx((values.std() / 50**0.5).item(), rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_standard_errors_are_those_of_the_bootstrap(kind: str) -> None:
    score, contributions = KINDS[kind]
    real, generated, weights = samples(400, 400)
    found = contributions(real, generated, weights)
    generator = torch.Generator().manual_seed(0)
    draws = []
    for _ in range(300):
        i = torch.randint(len(real), (len(real),), generator=generator)
        j = torch.randint(len(generated), (len(generated),), generator=generator)
        ones = torch.ones(len(real))
        draws.append([score(real[i], generated[j], ones, column[j]) for column in weights.T])
    boot = np.array(draws)
    # 300 draws know a standard deviation to 4 %; resampled rows are doubled, which adds terms of order D/n
    assert found.standard_errors().numpy() == pytest.approx(boot.std(0), rel=0.15)
    difference = (boot[:, 1] - boot[:, 0]).std()
    assert found.differences().standard_errors()[1].item() == pytest.approx(difference, rel=0.15)
    assert found.differences().standard_errors()[0].item() == 0
    assert found.differences().standard_errors()[1] < found.standard_errors()[1]


def test_too_few_effective_rows_have_no_error() -> None:
    real, generated, weights = samples()
    weights[:, 1] = 1e-9
    weights[:7, 1] = 1.0
    found = frechet_contributions(real, generated, weights)
    assert torch.isfinite(found.score).all()
    assert torch.isfinite(found.standard_errors()).tolist() == [True, False]
    assert torch.isfinite(found.differences().standard_errors()).tolist() == [True, False]
    few = frechet_contributions(real[:7], generated, weights)
    assert not torch.isfinite(few.standard_errors()).any()


def test_features_without_variance() -> None:
    real, generated, weights = samples()
    flat = torch.zeros(len(real), 1), torch.zeros(len(generated), 1)
    wide = frechet_contributions(torch.cat([real, flat[0]], 1), torch.cat([generated, flat[1]], 1), weights)
    narrow = frechet_contributions(real, generated, weights)
    assert wide.standard_errors().tolist() == pytest.approx(narrow.standard_errors().tolist(), rel=1e-5)


@pytest.mark.parametrize("contributions", [frechet_contributions, kernel_contributions])
def test_errors(contributions: Callable[..., Contributions]) -> None:
    contributions = inspect.unwrap(contributions)  # without the type checker of the tests
    real, generated, weights = samples()
    with pytest.raises(InputError, match="columns"):
        contributions(real[:, :3], generated, weights)
    with pytest.raises(InputError, match="NaN or infinite"):
        contributions(real * torch.nan, generated, weights)
    with pytest.raises(InputError, match="weights have shape"):
        contributions(real, generated, weights[:-1])
    with pytest.raises(InputError, match="non-negative"):
        contributions(real, generated, -weights)


def test_degrees_of_freedom_of_normal_terms_are_their_number() -> None:
    terms_of = torch.randn(4000, 500, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = Contributions(terms_of.sum(0), terms_of, terms_of.new_zeros(0, 500)).degrees_of_freedom()
    assert found.mean().item() == pytest.approx(4000, rel=0.01)


def test_degrees_of_freedom_predict_the_spread_of_the_variance() -> None:
    # over repetitions a sum of squares c² has the relative variance 2/ν, whatever the distribution of c
    generator = torch.Generator().manual_seed(1)
    terms_of = torch.randn(2000, 3000, dtype=torch.float64, generator=generator)
    terms_of *= 0.5 * torch.randn(2000, 3000, dtype=torch.float64, generator=generator).exp()
    found = Contributions(terms_of.sum(0), terms_of, terms_of.new_zeros(0, 3000))
    variance = found.standard_errors().square()
    relative = (variance.var() / variance.mean().square()).item()
    # ν of one sample lacks the tail: of many samples together it is about right
    squares, fourths = terms_of.square().sum(0).mean(), terms_of.pow(4).sum(0).mean()
    expected = effective_degrees_of_freedom(squares[None], fourths[None], 2000).item()
    assert 2 / relative == pytest.approx(expected, rel=0.25)


def test_equal_terms_have_no_degrees_of_freedom_to_lack() -> None:
    terms_of = torch.ones(100, 1, dtype=torch.float64)
    assert half_width(2.0, Contributions(terms_of[0], terms_of, terms_of[:0]).degrees_of_freedom().item()) == (
        pytest.approx(2 * 1.959964)
    )


def test_class_distances_and_their_parts_are_those_of_the_shares() -> None:
    """Against the shares by numpy, and the change when one row's weight grows."""
    random = np.random.default_rng(0)
    real, generated = (
        torch.from_numpy(random.choice(4, 300, p=p)) for p in ([0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4])
    )
    weights = torch.from_numpy(random.uniform(0.5, 1.5, (300, 2)))

    def distance(w: np.ndarray) -> float:
        shares = [np.bincount(real, minlength=4) / 300, np.bincount(generated, w / w.sum(), minlength=4)]
        return float(np.abs(shares[0] - shares[1]).sum() / 2)

    found = class_distance_contributions(real, generated, weights, 4)
    for k in range(2):
        w = weights[:, k].numpy()
        assert found.score[k].item() == pytest.approx(distance(w), rel=1e-12)
        for i in (0, 7, 100):
            grown = w.copy()
            grown[i] += (step := 1e-6 * w.sum())
            derivative = (distance(grown) - distance(w)) / step * w[i]  # of the score by the row's own weight
            scale = (1 - w[i] / w.sum()) ** 0.5
            assert found.generated[i, k].item() == pytest.approx(derivative / scale, rel=1e-3)
