import inspect
import math
import pickle

import numpy as np
import pytest
import torch
import torch_fidelity.metric_kid
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lfiw.errors import InputError
from lfiw.metrics import KernelDistance, gaussian_kernel_distance, kernel_distance, subset_kernel_distances
from lfiw.metrics.paper import PaperKernelDistance

D = 6
examples = settings(max_examples=20, deadline=None, derandomize=True)


def samples(n: int, seed: int, d: int = D) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d))


def skewed_weights(n: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).lognormal(size=n))


def naive_kernel_distance(x: Tensor, y: Tensor, v: Tensor | None = None, w: Tensor | None = None) -> float:
    """The definition, pair by pair."""
    x, y = x.double().numpy(), y.double().numpy()
    v = np.ones(len(x)) if v is None else v.numpy()
    w = np.ones(len(y)) if w is None else w.numpy()
    v, w = v / v.sum(), w / w.sum()

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.dot(a, b) / len(a) + 1) ** 3

    def within(z: np.ndarray, u: np.ndarray) -> float:
        pairs = [(i, j) for i in range(len(z)) for j in range(len(z)) if i != j]
        return sum(u[i] * u[j] * k(z[i], z[j]) for i, j in pairs) / (1 - np.sum(u**2))

    cross = sum(v[i] * w[j] * k(x[i], y[j]) for i in range(len(x)) for j in range(len(y)))
    return within(x, v) + within(y, w) - 2 * cross


def naive_gaussian_distance(x: Tensor, y: Tensor, v: Tensor | None = None, w: Tensor | None = None) -> float:
    """√(vᵀKv + wᵀKw − 2vᵀKw) with explicit differences of rows."""
    x, y = x.numpy(), y.numpy()
    v = np.full(len(x), 1 / len(x)) if v is None else v.numpy()
    w = np.full(len(y), 1 / len(y)) if w is None else w.numpy()

    def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return ((a[:, None] - b[None]) ** 2).sum(axis=2)

    s = v @ squared_distances(x, x) @ v / v.sum() ** 2
    real, generated, cross = (np.exp(-squared_distances(a, b) / (2 * s)) for a, b in ((x, x), (y, y), (x, y)))
    return math.sqrt(v @ real @ v + w @ generated @ w - 2 * v @ cross @ w)


def collected(real: Tensor, generated: Tensor, v: Tensor | None = None, w: Tensor | None = None) -> Tensor:
    metric = KernelDistance(real.shape[1])
    metric.update(real, real=True, weights=v)
    metric.update(generated, real=False, weights=w)
    return metric.compute()


def test_error_table(capsys: pytest.CaptureFixture[str]) -> None:
    real, generated = samples(500, 0, d=64), samples(450, 1, d=64)
    few_real, few, v, w = samples(60, 3), samples(50, 6), skewed_weights(60, 4), skewed_weights(50, 5)

    def torch_fidelity_scores(x: Tensor, y: Tensor, subsets: int, subset_size: int) -> tuple[float, float]:
        options = {"kid_subsets": subsets, "kid_subset_size": subset_size, "verbose": False}
        scores = torch_fidelity.metric_kid.kid_features_to_metric(y, x, **options)  # input 1 is the generated one
        return (
            scores[torch_fidelity.metric_kid.KEY_METRIC_KID_MEAN],
            scores[torch_fidelity.metric_kid.KEY_METRIC_KID_STD],
        )

    subset = KernelDistance(64, subsets=100, subset_size=400, seed=2020)
    subset.update(real[:300], real=True)
    subset.update(generated, real=False)
    subset.update(real[300:], real=True)
    mean, std = torch_fidelity_scores(real, generated, 100, 400)
    single_precision = KernelDistance(64, subsets=10, subset_size=300)
    single_precision.update(real.float(), real=True)
    single_precision.update(generated.float(), real=False)
    mean_of_floats, _ = torch_fidelity_scores(real.float(), generated.float(), 10, 300)
    # One subset of all rows is the full sample, in another order.
    full, _ = torch_fidelity_scores(real[:450], generated, 1, 450)
    paper = gaussian_kernel_distance(few_real, few, generated_weights=w / w.sum())
    naive_paper = naive_gaussian_distance(few_real, few, w=w / w.sum())
    table = [
        ("KID, 100 subsets, mean", "torch-fidelity", subset.compute(), mean, 1e-10),
        ("KID, 100 subsets, std", "torch-fidelity", subset.compute_std(), std, 1e-9),
        # The oracle stays in float32.
        ("KID of float32, mean", "torch-fidelity", single_precision.compute(), mean_of_floats, 1e-5),
        ("KID, full sample", "torch-fidelity", collected(real[:450], generated), full, 1e-10),
        (
            "KID, weights on both sides",
            "definition",
            collected(few_real, few, v, w),
            naive_kernel_distance(few_real, few, v, w),
            1e-10,
        ),
        ("KID, paper convention", "definition", paper, naive_paper, 1e-10),
    ]
    with capsys.disabled():
        print(f"\n{'metric':<28}{'oracle':<20}{'relative error':>15}{'tolerance':>12}")
        for metric, oracle, ours, expected, tolerance in table:
            print(f"{metric:<28}{oracle:<20}{abs(ours.item() / expected - 1):>15.1e}{tolerance:>12.0e}")
    for metric, oracle, ours, expected, tolerance in table:
        assert ours.item() == pytest.approx(expected, rel=tolerance), f"{metric} against {oracle}"


@pytest.mark.parametrize("block_size", [1, 4, 7, 100])
def test_blocks_do_not_change_the_value(block_size: int) -> None:
    real, generated, v, w = samples(15, 7), samples(11, 8), skewed_weights(15, 9), skewed_weights(11, 10)
    value = kernel_distance(real, generated, v, w, block_size=block_size)
    assert value.item() == pytest.approx(naive_kernel_distance(real, generated, v, w), rel=1e-10)
    paper = gaussian_kernel_distance(real, generated, v, w, block_size=block_size)
    assert paper.item() == pytest.approx(naive_gaussian_distance(real, generated, v, w), rel=1e-9)


@examples
@given(seed=st.integers(0, 10_000), cut=st.integers(0, 12), log_scale=st.floats(-140, 140))
def test_permuting_splitting_rescaling_and_zero_weights_change_nothing(seed: int, cut: int, log_scale: float) -> None:
    real, generated, w = samples(12, seed), samples(12, seed + 1), skewed_weights(12, seed)
    expected = naive_kernel_distance(real, generated, w=w)
    size = abs(naive_kernel_distance(real, generated * 0, w=w)) + abs(expected)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(12))
    shuffled, weights = generated[order], w[order] * 10.0**log_scale
    metric = KernelDistance(D)
    metric.update(shuffled[:cut], real=False, weights=weights[:cut])
    metric.update(samples(3, seed + 2), real=False, weights=torch.zeros(3))
    metric.update(real.flip(0), real=True)
    metric.update(shuffled[cut:], real=False, weights=weights[cut:])
    assert metric.compute().item() == pytest.approx(expected, rel=1e-9, abs=1e-11 * size)


@examples
@given(seed=st.integers(0, 10_000), row=st.integers(0, 9))
def test_weight_2_equals_a_duplicate_in_the_biased_statistic(seed: int, row: int) -> None:
    real, generated = samples(12, seed), samples(10, seed + 1)
    w = torch.ones(10, dtype=torch.float64)
    w[row] = 2
    duplicated = torch.cat([generated, generated[row : row + 1]])
    torch.testing.assert_close(
        gaussian_kernel_distance(real, generated, generated_weights=w / w.sum()),
        gaussian_kernel_distance(real, duplicated),
        rtol=1e-9,
        atol=1e-12,
    )


def test_weightings_in_one_pass_equal_separate_ones() -> None:
    real, generated = samples(20, 11), samples(17, 12)
    v = torch.stack([skewed_weights(20, seed) for seed in (1, 2, 3)], dim=1)
    w = torch.stack([skewed_weights(17, seed) for seed in (4, 5, 6)], dim=1)
    expected = [naive_kernel_distance(real, generated, v[:, j], w[:, j]) for j in range(3)]
    assert kernel_distance(real, generated, v, w, block_size=6).tolist() == pytest.approx(expected, rel=1e-9)
    shared = [naive_kernel_distance(real, generated, v[:, 0], w[:, j]) for j in range(3)]
    assert kernel_distance(real, generated, v[:, 0], w).tolist() == pytest.approx(shared, rel=1e-9)

    for weights, values in ((v, expected), (v[:, 0], shared)):
        metric = KernelDistance(D, num_weightings=3)
        metric.update(real[:9], real=True, weights=weights[:9])
        metric.update(real[9:], real=True, weights=weights[9:])
        metric.update(generated, real=False, weights=w)
        assert metric.compute().tolist() == pytest.approx(values, rel=1e-9)
        assert metric.compute().dtype == torch.float64


def test_paper_convention_uses_weights_at_the_scale_given() -> None:
    real, generated = samples(20, 13), samples(17, 14)
    w = skewed_weights(17, 15)
    w = torch.stack([w / w.sum(), 1.3 * w / w.sum()], dim=1)
    v = torch.stack([skewed_weights(20, seed) for seed in (16, 17)], dim=1)
    v = v / v.sum(dim=0)
    metric = PaperKernelDistance(D, num_weightings=2)
    metric.update(real, real=True)
    metric.update(generated, real=False, weights=w)
    expected = [naive_gaussian_distance(real, generated, w=w[:, j]) for j in range(2)]
    assert metric.compute().tolist() == pytest.approx(expected, rel=1e-9)

    own = PaperKernelDistance(D, num_weightings=2)
    own.update(real, real=True, weights=v)
    own.update(generated, real=False, weights=w)
    expected = [naive_gaussian_distance(real, generated, v[:, j], w[:, j]) for j in range(2)]
    assert own.compute().tolist() == pytest.approx(expected, rel=1e-9)
    assert gaussian_kernel_distance(real, generated, v, w).tolist() == pytest.approx(expected, rel=1e-9)
    own.update(generated, real=False)
    with pytest.raises(InputError, match="17 generated rows came without weights"):
        own.compute()


def test_real_rows_of_weight_zero_change_nothing() -> None:
    real, generated, padding = samples(9, 32), samples(8, 33), samples(4, 34) * 100
    padded, v = torch.cat([real, padding]), torch.cat([torch.ones(9), torch.zeros(4)]).double()
    expected = naive_kernel_distance(real, generated)
    assert kernel_distance(padded, generated, v).item() == pytest.approx(expected, rel=1e-10)
    paper = gaussian_kernel_distance(padded, generated, v / v.sum())
    assert paper.item() == pytest.approx(naive_gaussian_distance(real, generated), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_any_float_dtype_is_computed_in_float64(dtype: torch.dtype) -> None:
    real, generated = samples(9, 35).to(dtype), samples(8, 36).to(dtype)
    assert collected(real, generated).item() == pytest.approx(naive_kernel_distance(real, generated), rel=1e-10)


def test_collapsed_duplicated_and_few_samples() -> None:
    ones = torch.ones(5, 3)
    assert kernel_distance(ones, torch.ones(4, 3)).item() == pytest.approx(0, abs=1e-12)
    # k(1,1) = 8, k(−1,−1) = 8, k(1,−1) = 0.
    assert collected(ones, -ones).item() == pytest.approx(16, abs=1e-12)
    duplicated = torch.cat([samples(4, 18), samples(4, 18)])
    expected = naive_kernel_distance(duplicated, samples(2, 19))
    assert collected(duplicated, samples(2, 19)).item() == pytest.approx(expected, rel=1e-9)
    with pytest.raises(InputError, match="all real rows are equal"):
        gaussian_kernel_distance(ones * 0.1, samples(5, 20, d=3))  # 0.1 is not exact, nor is the mean of its copies
    real = samples(5, 21)
    assert gaussian_kernel_distance(real, real).item() == pytest.approx(0, abs=1e-7)  # the root of a rounding error


def test_metric_behaviour() -> None:
    real, generated = samples(10, 22).float(), samples(9, 23).float()
    metric = KernelDistance(D)
    assert metric(real, real=True) is None
    buffer = generated.clone()
    metric.update(buffer, real=False)
    buffer.zero_()  # what was seen stays seen
    value = metric.compute()
    assert value.shape == ()
    assert value.item() == pytest.approx(naive_kernel_distance(real, generated), rel=1e-9)
    assert torch.equal(metric.compute(), value)
    assert metric.real_features[0].dtype == torch.float32
    metric.half().to(torch.float16).set_dtype(torch.float16)
    assert metric.real_features[0].dtype == torch.float32
    copy = pickle.loads(pickle.dumps(metric))
    copy.update(real[:0], real=True)
    assert copy.compute() == value
    metric.reset()
    with pytest.raises(InputError, match="the real side has no rows"):
        metric.compute()


def test_subsets_leave_the_global_random_state_alone_and_repeat() -> None:
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = subset_kernel_distances(samples(30, 24), samples(20, 25), subsets=3, subset_size=10, seed=1)
    again = subset_kernel_distances(samples(30, 24), samples(20, 25), subsets=3, subset_size=10, seed=1)
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


@pytest.mark.parametrize(
    ("features", "weights", "message"),
    [
        (torch.tensor([[math.nan, 0.0]]), None, "features contain NaN or infinite"),
        (torch.ones(2, 2, dtype=torch.int64), None, "dtype torch.int64, expected a floating dtype"),
        (torch.ones(2, 3), None, r"shape \(2, 3\), expected \(n, 2\)"),
        (torch.ones(2, 2), torch.tensor([1.0, math.inf]), "weights contain NaN or infinite"),
        (torch.ones(2, 2), torch.tensor([1.0, -0.5]), "a weight is -0.5, expected non-negative"),
        (torch.ones(2, 2), torch.ones(3), r"weights have shape \(3,\), expected \(2,\)"),
        (torch.ones(2, 2), torch.ones(2, 5), r"weights have shape \(2, 5\)"),
    ],
)
def test_bad_batches_are_named(features: Tensor, weights: Tensor | None, message: str) -> None:
    metric = KernelDistance(2)
    with pytest.raises(InputError, match=message):
        inspect.unwrap(KernelDistance.update)(metric, features, True, weights)
    assert metric.real_features == []


def test_bad_functional_inputs_are_named() -> None:
    x, y = samples(5, 26), samples(4, 27)
    with pytest.raises(InputError, match="real features contain NaN"):
        kernel_distance(x * math.nan, y)
    with pytest.raises(InputError, match="real features have 6 columns and generated ones 3"):
        inspect.unwrap(kernel_distance)(x, torch.ones(4, 3))
    with pytest.raises(InputError, match="real weights have 2 columns and generated ones 3"):
        inspect.unwrap(kernel_distance)(x, y, torch.ones(5, 2), torch.ones(4, 3))
    with pytest.raises(InputError, match="the real weights are all zero"):
        kernel_distance(x, y, real_weights=torch.zeros(5))
    with pytest.raises(InputError, match="the generated side has no weight"):
        gaussian_kernel_distance(x, y, generated_weights=torch.zeros(4))
    with pytest.raises(InputError, match="the generated side has one row that carries all the weight"):
        kernel_distance(x, y, generated_weights=torch.tensor([0.0, 2.0, 0.0, 0.0]))
    with pytest.raises(InputError, match="sums of weights overflow float64"):
        gaussian_kernel_distance(x, y, generated_weights=torch.full((4,), 1e200, dtype=torch.float64))
    with pytest.raises(InputError, match="overflows float64: rescale the features"):
        kernel_distance(x * 1e80, y)
    with pytest.raises(InputError, match="block_size is 0"):
        kernel_distance(x, y, block_size=0)


def test_bad_arguments_are_named() -> None:
    for arguments, message in (
        ({"num_features": 0}, "num_features is 0"),
        ({"num_features": 2, "subsets": 10}, "expected both or neither"),
        ({"num_features": 2, "subset_size": 10}, "expected both or neither"),
        ({"num_features": 2, "subsets": 0, "subset_size": 10}, "expected at least 1 and 2"),
        ({"num_features": 2, "subsets": 2, "subset_size": 10, "num_weightings": 2}, "drawn without weights"),
    ):
        with pytest.raises(InputError, match=message):
            KernelDistance(**arguments)


def test_compute_without_enough_rows_is_refused() -> None:
    metric = KernelDistance(D)
    with pytest.raises(InputError, match="the real side has no rows"):
        metric.compute()
    with pytest.raises(InputError, match="expected subsets= and subset_size="):
        metric.compute_std()
    metric.update(samples(1, 28), real=True)
    metric.update(samples(5, 29), real=False, weights=torch.zeros(5))
    with pytest.raises(InputError, match="the generated side has no rows"):
        metric.compute()
    metric.update(samples(5, 29), real=False)
    with pytest.raises(InputError, match="the real side has one row"):
        metric.compute()
    subset = KernelDistance(D, subsets=2, subset_size=10)
    subset.update(samples(20, 30), real=True)
    with pytest.raises(InputError, match="subsets are drawn without weights"):
        subset.update(samples(9, 31), real=False, weights=torch.ones(9))
    subset.update(samples(9, 31), real=False)
    with pytest.raises(InputError, match="the generated side has 9 rows, expected at least subset_size=10"):
        subset.compute()
