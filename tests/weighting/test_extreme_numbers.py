"""Degenerate and extreme input to all of the maths: finite numbers, or one line that says what is wrong.

What is documented as nan (k̂ of a tail that cannot be fitted, an interval that does not exist) is not asked here.
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lfiw import InputError, Weighting, effective_sample_size, kl_gain, pareto_k, sir
from lfiw.metrics import FrechetDistance, InceptionScore, KernelDistance, PrecisionRecall
from lfiw.metrics.frechet import frechet_distance_from_features
from lfiw.metrics.influence import frechet_contributions, inception_score_contributions, kernel_contributions
from lfiw.metrics.paper import PaperFrechetDistance, PaperKernelDistance
from lfiw.schemas import CALIBRATIONS
from lfiw.weighting.calibration import fit_calibrator, reliability
from lfiw.weighting.diagnostics import (
    balanced_accuracy,
    balanced_log_loss,
    mean_one,
    rank_test,
    top_share,
    two_sample_test,
)
from lfiw.weighting.gate import choose

N = 200


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LOG_RATIOS = {
    "±1e4": random(N) * 1e4,
    "all but one": torch.eye(N, dtype=torch.float64)[0] * 1e4,
    "one lost": torch.eye(N, dtype=torch.float64)[0] * -1e4,
    "constant": torch.zeros(N, dtype=torch.float64),
    "constant 1e4": torch.full((N,), 1e4, dtype=torch.float64),
    "two values": torch.tensor([-1e4, 1e4], dtype=torch.float64).repeat(N // 2),
    "two rows": torch.tensor([0.0, 1.0], dtype=torch.float64),
    "no spread": 1e-300 * random(N),
    "duplicates": random(10).repeat(N // 10),
    "half precision": (random(N) * 100).half(),
}


def finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    if isinstance(value, tuple | list):
        return all(map(finite, value))
    if isinstance(value, Tensor):
        return bool(torch.isfinite(value).all())
    return not isinstance(value, float) or math.isfinite(value)


def finite_or_refused(compute: Callable[[], Any]) -> str:
    """ "" for a finite result, or the line of the InputError; everything else fails."""
    try:
        result = compute()
    except InputError as error:
        told = str(error)
    else:
        assert finite(result), result
        return ""
    assert told
    assert "\n" not in told
    return told


@pytest.mark.parametrize("name", LOG_RATIOS)
def test_weights(name: str) -> None:
    log_ratio = LOG_RATIOS[name]
    for weighting in (Weighting(), Weighting(smooth=True), Weighting(0.5, 0.01), Weighting(2.0), Weighting(0.0)):
        weights = weighting(log_ratio)
        assert weights.sum().item() == pytest.approx(1, abs=1e-12)
        assert (weights >= 0).all()
        assert 1 - 1e-9 <= effective_sample_size(weights) <= len(weights) + 1e-6
        assert 0 < top_share(weights) <= 1 + 1e-12
    k = pareto_k(log_ratio)
    assert math.isfinite(k) or math.isnan(k)
    assert ((sir(log_ratio, 20, 8) >= 0) & (sir(log_ratio, 20, 8) < len(log_ratio))).all()
    # of weights that are not normalised one that overflows is an error
    told = finite_or_refused(lambda: Weighting(normalize=False)(log_ratio))
    assert ("overflows" in told) == bool((log_ratio > 709.78).any())


@pytest.mark.parametrize("of_generated", LOG_RATIOS)
@pytest.mark.parametrize("of_real", LOG_RATIOS)
def test_diagnostics_calibration_and_gate(of_real: str, of_generated: str) -> None:
    real, generated = LOG_RATIOS[of_real], LOG_RATIOS[of_generated]
    for function in (kl_gain, balanced_log_loss, balanced_accuracy, mean_one, two_sample_test, rank_test):
        assert finite(function(real, generated)), function.__name__
    assert 0 <= two_sample_test(real, generated) <= 1 + 1e-12
    for name in CALIBRATIONS[1:]:
        calibrator = fit_calibrator(name, real, generated)
        assert finite([calibrator(real), calibrator(generated), list(calibrator.state().values())]), name
    both = torch.cat([real.double(), generated.double()])
    curve = reliability(both, torch.arange(len(both)) < len(real))
    assert 0 <= curve.expected_error <= curve.maximum_error <= 1
    for choice in (choose(real, generated),):
        assert choice.reason
        if choice.candidate is not None:
            assert finite([choice.candidate.kl_gain, choice.candidate.standard_error, choice.candidate.ess])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_no_numbers(value: float) -> None:
    bad, good = torch.zeros(N, dtype=torch.float64).index_fill(0, torch.tensor([7]), value), random(N)
    told = [finite_or_refused(lambda f=f: f(bad)) for f in (Weighting(), pareto_k, lambda x: sir(x, 5, 5))]
    for function in (kl_gain, balanced_log_loss, mean_one, two_sample_test, rank_test, choose):
        told += [finite_or_refused(lambda f=function: f(bad, good)), finite_or_refused(lambda f=function: f(good, bad))]
    told += [finite_or_refused(lambda n=name: fit_calibrator(n, bad, good)) for name in CALIBRATIONS[1:]]
    for line in told:
        assert "NaN or infinite" in line or "expected finite values" in line
    assert "1 of 200 values are NaN or infinite, first in row 7" in told[0]


FEATURES: dict[str, tuple[Tensor, Tensor]] = {
    "normal": (random(60, 5), random(70, 5, seed=1)),
    "fewer rows than features": (random(6, 50), random(7, 50, seed=1)),
    "constant features": tuple(torch.cat([random(n, 3), torch.ones(n, 2)], 1) for n in (60, 70)),  # type: ignore[dict-item]
    "all rows equal": (torch.ones(60, 5), torch.ones(70, 5)),
    "generated rows equal": (random(60, 5), torch.zeros(70, 5).double()),
    "duplicates": (random(5, 5).repeat(12, 1), random(7, 5).repeat(10, 1)),
    "two rows": (random(2, 5), random(2, 5, seed=1)),
    "one row": (random(1, 5), random(1, 5)),
    "one feature": (random(60, 1), random(70, 1)),
    "1e30": (random(60, 5) * 1e30, random(70, 5) * 1e30),
    "1e200": (random(60, 5) * 1e200, random(70, 5) * 1e200),
    "1e-200": (random(60, 5) * 1e-200, random(70, 5) * 1e-200),
    "far away": (random(60, 5), random(70, 5) + 1e8),
    "the same": (random(60, 5), random(60, 5)),
    "nan": (random(60, 5), torch.full((70, 5), math.nan)),
    "inf": (torch.full((60, 5), math.inf), random(70, 5)),
}


def weights_of(num: int) -> dict[str, Tensor | None]:
    return {
        "none": None,
        "uniform": torch.ones(num),
        "±1e4": torch.softmax(random(num) * 1e4, 0),
        "one row": torch.eye(num)[0],
        "two rows": torch.eye(num)[:2].sum(0),
        "zero": torch.zeros(num),
        "nan": torch.full((num,), math.nan),
        "negative": -torch.ones(num),
        "1e300": random(num).abs() * 1e300,
        "1e-300": random(num).abs() * 1e-300,
    }


METRICS: dict[str, Callable[[int], Any]] = {
    "fid": FrechetDistance,
    "fid, paper": PaperFrechetDistance,
    "kid": KernelDistance,
    "kid, paper": PaperKernelDistance,
    "precision and recall": PrecisionRecall,
}
GOOD = ("normal", "constant features", "duplicates", "one feature", "the same", "far away")  # features to be scored


@pytest.mark.parametrize("weights", list(weights_of(1)))
@pytest.mark.parametrize("features", FEATURES)
def test_metrics_and_intervals(features: str, weights: str) -> None:
    real, generated = FEATURES[features]
    w = weights_of(len(generated))[weights]

    def score(metric: Any) -> Any:
        metric.update(real, real=True)
        metric.update(generated, real=False, weights=w)
        return metric.compute()

    told = {name: finite_or_refused(lambda make=make: score(make(real.shape[1]))) for name, make in METRICS.items()}
    told["function"] = finite_or_refused(lambda: frechet_distance_from_features(real, generated, None, w))
    columns = torch.ones(len(generated), 2) if w is None else torch.stack([torch.ones_like(w), w], 1)
    for name, contributions in (("fid error", frechet_contributions), ("kid error", kernel_contributions)):
        told[name] = finite_or_refused(lambda f=contributions: f(real, generated, columns).score)
    if features in ("nan", "inf") or weights in ("zero", "nan", "negative"):
        assert all(told.values()), told
    if features in GOOD and weights in ("none", "uniform", "two rows"):
        refused = {name for name, line in told.items() if line}
        assert refused <= ({"precision and recall"} if weights == "two rows" else set()), told
    if weights in ("±1e4", "one row"):
        other = ("nan", "inf", "one row", "1e200", "1e-200")  # where something else is told first
        assert "one row that carries all the weight" in told["fid"] or features in other
    if features == "1e-200" and weights in ("none", "uniform"):
        assert all("underflow" in told[name] for name in ("fid", "fid, paper", "function", "precision and recall")), (
            told
        )


PROBABILITIES = {
    "one class": torch.eye(4)[[0] * 20],
    "uniform": torch.full((20, 4), 0.25),
    "two classes": torch.eye(4)[[0, 1] * 10],
    "a single class": torch.ones(20, 1),
    "nan": torch.full((20, 4), math.nan),
    "logits": torch.randn(20, 4, generator=torch.Generator().manual_seed(0)) * 5,
}


@pytest.mark.parametrize("weights", list(weights_of(1)))
@pytest.mark.parametrize("name", PROBABILITIES)
def test_inception_score(name: str, weights: str) -> None:
    probabilities, w = PROBABILITIES[name], weights_of(20)[weights]
    metric = InceptionScore(probabilities.shape[1])

    def score() -> Any:
        metric.update(probabilities, weights=w)
        return metric.compute()

    told = finite_or_refused(score)
    assert bool(told) == (name in ("nan", "logits") or weights in ("zero", "nan", "negative"))
    if not told:
        bound = {"one class": 1, "uniform": 1, "two classes": 2, "a single class": 1}[name]
        assert 1 - 1e-9 <= metric.compute() <= bound + 1e-6
        columns = torch.ones(20, 1) if w is None else w[:, None]
        finite_or_refused(lambda: inception_score_contributions(probabilities, columns).score)
