import inspect
import math
import pickle

import numpy as np
import pytest
import torch
import torch_fidelity.metric_isc
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lfiw.errors import InputError
from lfiw.metrics import InceptionScore, inception_score
from lfiw.metrics.paper import PaperInceptionScore

C = 9
examples = settings(max_examples=25, deadline=None, derandomize=True)


def logits_of(n: int, seed: int, c: int = C) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(scale=3, size=(n, c)))


def probabilities_of(n: int, seed: int, c: int = C) -> Tensor:
    return logits_of(n, seed, c).softmax(dim=1)


def skewed_weights(n: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).lognormal(size=n))


def numpy_score(p: Tensor, outer: Tensor, inner: Tensor) -> float:
    """exp(Σ outerᵢ KL(pᵢ ‖ Σ innerⱼpⱼ)), row by row."""
    rows = p.numpy()
    marginal = (inner.numpy()[:, None] * rows).sum(axis=0)
    divergences = [sum(q * math.log(q / m) for q, m in zip(row, marginal, strict=True) if q > 0) for row in rows]
    return math.exp(float(np.dot(outer.numpy(), divergences)))


def streamed(p: Tensor, w: Tensor | None = None) -> Tensor:
    metric = InceptionScore(p.shape[1])
    metric.update(p, weights=w)
    return metric.compute()


def torch_fidelity_score(logits: Tensor) -> float:
    scores = torch_fidelity.metric_isc.isc_features_to_metric(logits, splits=1)
    return scores[torch_fidelity.metric_isc.KEY_METRIC_ISC_MEAN]


def test_error_table(capsys: pytest.CaptureFixture[str]) -> None:
    logits, w = logits_of(2000, 0, c=1008), skewed_weights(2000, 1)
    p = logits.softmax(dim=1)
    normalised = w / w.sum()
    table = [
        ("IS streamed", "torch-fidelity", streamed(p), torch_fidelity_score(logits), 1e-10),
        ("IS of probabilities", "torch-fidelity", inception_score(p), torch_fidelity_score(logits), 1e-10),
        # Rounding of float32 probabilities, about 6e-8 each.
        ("IS streamed, float32", "torch-fidelity", streamed(p.float()), torch_fidelity_score(logits), 1e-6),
        ("IS streamed, weighted", "definition", streamed(p, w), numpy_score(p, normalised, normalised), 1e-10),
    ]
    with capsys.disabled():
        print(f"\n{'metric':<28}{'oracle':<20}{'relative error':>15}{'tolerance':>12}")
        for metric, oracle, ours, expected, tolerance in table:
            print(f"{metric:<28}{oracle:<20}{abs(ours.item() / expected - 1):>15.1e}{tolerance:>12.0e}")
    for metric, oracle, ours, expected, tolerance in table:
        assert ours.item() == pytest.approx(expected, rel=tolerance), f"{metric} against {oracle}"


def test_bounds_and_zero_probabilities() -> None:
    one_hot = torch.eye(C)
    assert streamed(one_hot).item() == pytest.approx(C, rel=1e-12)  # each class once: the largest score
    assert inception_score(one_hot).item() == pytest.approx(C, rel=1e-12)
    constant = probabilities_of(1, 0).expand(6, C)
    assert streamed(constant).item() == pytest.approx(1, rel=1e-12)
    assert streamed(constant) >= 1
    assert streamed(one_hot[:1]).item() == 1
    # Two classes, weights 1 and 3: exp of the entropy of (1/4, 3/4).
    expected = math.exp(-0.25 * math.log(0.25) - 0.75 * math.log(0.75))
    assert streamed(torch.eye(2), torch.tensor([1.0, 3.0])).item() == pytest.approx(expected, rel=1e-12)


@examples
@given(seed=st.integers(0, 10_000), cut=st.integers(0, 20), log_scale=st.floats(-140, 140))
def test_permuting_splitting_rescaling_and_zero_weights_change_nothing(seed: int, cut: int, log_scale: float) -> None:
    p, w = probabilities_of(20, seed), skewed_weights(20, seed)
    expected = numpy_score(p, w / w.sum(), w / w.sum())
    order = torch.from_numpy(np.random.default_rng(seed).permutation(20))
    shuffled, weights = p[order], w[order] * 10.0**log_scale
    metric = InceptionScore(C)
    metric.update(shuffled[:cut], weights=weights[:cut])
    metric.update(probabilities_of(4, seed + 1), weights=torch.zeros(4))
    metric.update(shuffled[cut:], weights=weights[cut:])
    assert metric.compute().item() == pytest.approx(expected, rel=1e-10)
    assert inception_score(shuffled, weights).item() == pytest.approx(expected, rel=1e-10)


@examples
@given(seed=st.integers(0, 10_000), row=st.integers(0, 9))
def test_weight_2_equals_a_duplicate(seed: int, row: int) -> None:
    p = probabilities_of(10, seed)
    w = torch.ones(10)
    w[row] = 2
    duplicated = torch.cat([p, p[row : row + 1]])
    torch.testing.assert_close(streamed(p, w), streamed(duplicated), rtol=1e-12, atol=0)


def test_weightings_in_one_pass_equal_separate_ones() -> None:
    p = probabilities_of(30, 2)
    w = torch.stack([skewed_weights(30, seed) for seed in (3, 4)], dim=1)
    metric = InceptionScore(C, num_weightings=2)
    metric.update(p[:11], weights=w[:11])
    metric.update(p[11:], weights=w[11:])
    expected = [numpy_score(p, column / column.sum(), column / column.sum()) for column in w.T]
    assert metric.compute().tolist() == pytest.approx(expected, rel=1e-10)
    assert inception_score(p, w).tolist() == pytest.approx(expected, rel=1e-10)
    shared = InceptionScore(C, num_weightings=2)
    shared.update(p, weights=w[:, 0])
    assert shared.compute().tolist() == pytest.approx([expected[0], expected[0]], rel=1e-10)


def test_paper_convention_uses_weights_at_the_scale_given() -> None:
    p, w = probabilities_of(30, 5), skewed_weights(30, 6)
    w = w / w.sum()
    metric = PaperInceptionScore(C, num_weightings=2)
    metric.update(p, weights=torch.stack([w, 1.2 * w], dim=1))
    expected = [numpy_score(p, w, w), numpy_score(p, 1.2 * w, 1.2 * w)]
    assert metric.compute().tolist() == pytest.approx(expected, rel=1e-10)
    uniform = PaperInceptionScore(C)
    uniform.update(p)
    torch.testing.assert_close(uniform.compute(), streamed(p), rtol=1e-12, atol=0)
    uniform.update(p, weights=w)
    with pytest.raises(InputError, match="30 generated rows came without weights"):
        uniform.compute()


def test_metric_behaviour() -> None:
    p, q = probabilities_of(12, 7), probabilities_of(8, 8)
    metric = InceptionScore(C)
    torch.testing.assert_close(metric(p), streamed(p), rtol=1e-12, atol=0)  # forward: the batch's own value
    metric(q)
    value = metric.compute()
    assert value.dtype == torch.float64
    assert value.shape == ()
    assert torch.equal(metric.compute(), value)
    torch.testing.assert_close(value, streamed(torch.cat([p, q])), rtol=1e-12, atol=0)
    assert pickle.loads(pickle.dumps(metric)).compute() == value
    metric.to(torch.float16).set_dtype(torch.float16)
    assert metric.class_sum.dtype == torch.float64
    metric.reset()
    with pytest.raises(InputError, match="the generated side has no weight"):
        metric.compute()


@pytest.mark.parametrize(
    ("probabilities", "weights", "message"),
    [
        (torch.tensor([[math.nan, 1.0]]), None, "probabilities contain NaN"),
        (torch.tensor([[2.0, 3.0]]), None, r"sums to 5, expected 1 within 0.0001: pass softmax\(logits\)"),
        (torch.tensor([[0.5, 0.5], [0.4, 0.4]]), None, "sums to 0.8"),
        (torch.tensor([[-1.0, 2.0]]), None, r"a probability is -1, expected 0 to 1: pass softmax\(logits\)"),
        (torch.ones(2, 2, dtype=torch.int64), None, "dtype torch.int64"),
        (torch.ones(2, 3) / 3, None, r"shape \(2, 3\), expected \(n, 2\)"),
        (torch.eye(2), torch.tensor([1.0, math.nan]), "weights contain NaN"),
        (torch.eye(2), torch.tensor([1.0, -1.0]), "a weight is -1"),
        (torch.eye(2), torch.ones(3), r"weights have shape \(3,\), expected \(2,\)"),
        (torch.eye(2), torch.ones(2, 4), r"weights have shape \(2, 4\)"),
    ],
)
def test_bad_batches_are_named(probabilities: Tensor, weights: Tensor | None, message: str) -> None:
    metric = InceptionScore(2)
    with pytest.raises(InputError, match=message):
        inspect.unwrap(InceptionScore.update)(metric, probabilities, weights)
    assert metric.class_sum.abs().sum() == 0


def test_bad_arguments_and_sums_are_named() -> None:
    with pytest.raises(InputError, match="num_classes is 0"):
        InceptionScore(0)
    with pytest.raises(InputError, match="weights are all zero"):
        inception_score(torch.eye(2), torch.zeros(2))
    metric = InceptionScore(2)
    metric.update(torch.eye(2), weights=torch.full((2,), 1e308, dtype=torch.float64))
    with pytest.raises(InputError, match="overflows float64"):
        metric.compute()
    metric.reset()
    metric.update(torch.eye(2), weights=torch.full((2,), 5e-324, dtype=torch.float64))
    with pytest.raises(InputError, match="underflow float64"):
        metric.compute()
    many_classes = PaperInceptionScore(2500)
    many_classes.update(torch.eye(2500), weights=torch.full((2500,), 1 / math.e))
    with pytest.raises(InputError, match="the score overflows float64"):  # 2500/e > log of the largest float64
        many_classes.compute()
