import inspect
import math
import pickle
import warnings

import cleanfid.fid
import numpy as np
import pytest
import scipy.linalg
import torch
import torch_fidelity.metric_fid
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lfiw.errors import InputError
from lfiw.metrics import FrechetDistance, frechet_distance, frechet_distance_from_features, weighted_moments
from lfiw.metrics.frechet import FrechetReference
from lfiw.metrics.paper import PaperFrechetDistance

D = 12
examples = settings(max_examples=25, deadline=None, derandomize=True)


def samples(n: int, seed: int, d: int = D) -> Tensor:
    """Correlated features with a mean, as a network's are."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d))


def skewed_weights(n: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).lognormal(size=n))


def numpy_distance(real: Tensor, generated: Tensor, v: Tensor | None = None, w: Tensor | None = None) -> float:
    """The definition, by NumPy's moments and SciPy's matrix root."""
    moments = []
    for x, weights in ((real, v), (generated, w)):
        x = x.double().numpy()
        weights = None if weights is None else weights.numpy()
        moments += [np.average(x, axis=0, weights=weights), np.cov(x, rowvar=False, aweights=weights)]
    mean_a, cov_a, mean_b, cov_b = moments
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    return float(np.sum((mean_a - mean_b) ** 2) + np.trace(cov_a + cov_b - 2 * root))


def cleanfid_frechet_distance(mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # clean-fid's use of SciPy, not ours
        return float(cleanfid.fid.frechet_distance(mean_a, cov_a, mean_b, cov_b))


def streamed(real: Tensor, generated: Tensor, v: Tensor | None = None, w: Tensor | None = None) -> Tensor:
    metric = FrechetDistance(real.shape[1])
    metric.update(real, real=True, weights=v)
    metric.update(generated, real=False, weights=w)
    return metric.compute()


def test_moments_equal_numpy() -> None:
    x, w = samples(40, 0), skewed_weights(40, 1)
    mean, covariance = weighted_moments(x, w)
    np.testing.assert_allclose(mean, np.average(x, axis=0, weights=w), rtol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(x, rowvar=False, aweights=w), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(weighted_moments(x)[1], np.cov(x, rowvar=False), rtol=1e-11, atol=1e-13)


def test_moments_across_row_and_column_blocks() -> None:
    x, w = samples(4500, 2, d=3), skewed_weights(4500, 3)
    np.testing.assert_allclose(weighted_moments(x, w)[1], np.cov(x, rowvar=False, aweights=w), rtol=1e-11)
    wide = torch.from_numpy(np.random.default_rng(4).normal(size=(30, 1100)))
    np.testing.assert_allclose(weighted_moments(wide)[1], np.cov(wide, rowvar=False), rtol=1e-10, atol=1e-13)


def test_moments_survive_a_large_common_offset() -> None:
    x = samples(200, 5)
    np.testing.assert_allclose(weighted_moments(x + 1e6)[1], np.cov(x, rowvar=False), rtol=1e-7, atol=1e-8)


def test_weighted_metric_equals_numpy_with_weights_on_both_sides() -> None:
    real, generated, v, w = samples(60, 6), samples(50, 7), skewed_weights(60, 8), skewed_weights(50, 9)
    expected = numpy_distance(real, generated, v, w)
    assert streamed(real, generated, v, w).item() == pytest.approx(expected, rel=1e-9)
    assert frechet_distance_from_features(real, generated, v, w).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n", "m"), [(5, 7), (5, 40), (40, 7), (40, 30), (D, D), (D - 1, D + 1)])
def test_reference_of_few_rows(n: int, m: int) -> None:
    """Against the definition: the roots of the eigenvalues of √Σₐ·Σ_b·√Σₐ, with √Σₐ by NumPy."""
    real, generated, v, w = samples(n, 20), samples(m, 21), skewed_weights(n, 22), skewed_weights(m, 23)
    v[1] = w[2] = 0
    a, b = (np.cov(x, rowvar=False, aweights=u) for x, u in ((real, v), (generated, w)))
    values, vectors = np.linalg.eigh(a)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    difference = np.average(real, axis=0, weights=v) - np.average(generated, axis=0, weights=w)
    roots = np.sqrt(np.linalg.eigvalsh(root @ b @ root).clip(0))
    expected = difference @ difference + np.trace(a + b) - 2 * roots.sum()
    distance = FrechetReference(real, v).distance(generated, w)
    assert distance.dtype == torch.float64
    assert distance.item() == pytest.approx(expected, rel=1e-6)  # of singular ones, roots of rounding


def test_reference_of_few_rows_forms_no_matrix_of_the_dimensions() -> None:
    """200,000 dimensions: their covariance would take 320 GB."""
    generator = torch.Generator().manual_seed(0)
    real, generated = (torch.randn(4, 200_000, generator=generator) for _ in range(2))
    reference = FrechetReference(real)
    assert reference.distance(real).item() == pytest.approx(0, abs=1e-6)
    expected = frechet_distance_from_features(real, generated).item()
    assert reference.distance(generated).item() == pytest.approx(expected, rel=1e-10)


def test_reference_of_another_width() -> None:
    for num in (4, 40):
        with pytest.raises(InputError, match="columns"):
            FrechetReference(samples(num, 0)).distance(samples(4, 1, d=D + 1))


def test_error_table(capsys: pytest.CaptureFixture[str]) -> None:
    real, generated, w = samples(3000, 10, d=256), samples(2500, 11, d=256), skewed_weights(2500, 12)
    few, wide = samples(100, 13, d=256), samples(80, 14, d=256)

    def torch_fidelity_distance(a: Tensor, b: Tensor) -> float:
        statistics = [torch_fidelity.metric_fid.fid_features_to_statistics(x) for x in (a, b)]
        metric = torch_fidelity.metric_fid.fid_statistics_to_metric(*statistics, verbose=False)
        return metric[torch_fidelity.metric_fid.KEY_METRIC_FID]

    def cleanfid_distance(a: Tensor, b: Tensor, weights: Tensor | None = None) -> float:
        cov_b = np.cov(b, rowvar=False, aweights=weights)
        mean_b = np.average(b, axis=0, weights=weights)
        return cleanfid_frechet_distance(a.mean(0).numpy(), np.cov(a, rowvar=False), mean_b, cov_b)

    # Where rows are fewer than dimensions, the oracle takes roots of eigenvalues that are rounding errors.
    table = [
        ("FID streamed", "torch-fidelity", streamed(real, generated), torch_fidelity_distance(real, generated), 1e-9),
        ("FID streamed", "clean-fid", streamed(real, generated), cleanfid_distance(real, generated), 1e-9),
        (
            "FID streamed, weighted",
            "clean-fid, np.cov",
            streamed(real, generated, w=w),
            cleanfid_distance(real, generated, w),
            1e-9,
        ),
        (
            "FID of features",
            "torch-fidelity",
            frechet_distance_from_features(real, generated),
            torch_fidelity_distance(real, generated),
            1e-9,
        ),
        (
            "FID of features, n < d",
            "torch-fidelity",
            frechet_distance_from_features(few, wide),
            torch_fidelity_distance(few, wide),
            1e-6,
        ),
        (
            "FID of features, one n < d",
            "torch-fidelity",
            frechet_distance_from_features(real, wide),
            torch_fidelity_distance(real, wide),
            1e-6,
        ),
        ("FID streamed, n < d", "torch-fidelity", streamed(few, wide), torch_fidelity_distance(few, wide), 1e-6),
    ]
    with capsys.disabled():
        print(f"\n{'metric':<28}{'oracle':<20}{'relative error':>15}{'tolerance':>12}")
        for metric, oracle, ours, expected, tolerance in table:
            print(f"{metric:<28}{oracle:<20}{abs(ours.item() / expected - 1):>15.1e}{tolerance:>12.0e}")
    for metric, oracle, ours, expected, tolerance in table:
        assert ours.item() == pytest.approx(expected, rel=tolerance), f"{metric} against {oracle}"


@pytest.mark.parametrize(("n", "m"), [(6, 5), (6, 30), (30, 6), (30, 40), (D, D), (2, 2)])
def test_every_route_from_features_equals_the_definition(n: int, m: int) -> None:
    real, generated, v, w = samples(n, 15), samples(m, 16), skewed_weights(n, 17), skewed_weights(m, 18)
    # The root of a singular product: the oracle itself is good to about √eps.
    expected = numpy_distance_by_eigenvalues(real, generated, v, w)
    assert frechet_distance_from_features(real, generated, v, w).item() == pytest.approx(expected, rel=1e-6)
    assert streamed(real, generated, v, w).item() == pytest.approx(expected, rel=1e-6)


def numpy_distance_by_eigenvalues(real: Tensor, generated: Tensor, v: Tensor, w: Tensor) -> float:
    cov_a, cov_b = (np.cov(x, rowvar=False, aweights=u) for x, u in ((real, v), (generated, w)))
    mean_a, mean_b = (np.average(x, axis=0, weights=u) for x, u in ((real, v), (generated, w)))
    roots = np.sqrt(np.linalg.eigvals(cov_a @ cov_b).astype(complex)).real
    return float(np.sum((mean_a - mean_b) ** 2) + np.trace(cov_a + cov_b) - 2 * roots.sum())


def test_closed_form_of_diagonal_covariances() -> None:
    a, b = torch.tensor([1.0, 4.0, 0.0]), torch.tensor([9.0, 0.0, 1.0])
    value = frechet_distance(torch.zeros(3), torch.diag(a), torch.ones(3), torch.diag(b))
    assert value.item() == pytest.approx(3 + ((a.sqrt() - b.sqrt()) ** 2).sum().item(), abs=1e-12)


def test_constant_collapsed_and_duplicated_samples() -> None:
    constant, other = torch.ones(7, 3), torch.full((5, 3), 3.0)
    spread = samples(20, 19, d=3)
    for distance in (streamed, frechet_distance_from_features):
        assert distance(constant, other).item() == pytest.approx(12.0, abs=1e-12)
        # A collapsed generator: |μ|² and the whole variance of the real side remain.
        expected = (spread.mean(0) - 1).square().sum() + torch.cov(spread.T).trace()
        assert distance(spread, constant).item() == pytest.approx(expected.item(), rel=1e-7)
        assert distance(spread, spread).item() == pytest.approx(0, abs=1e-10)
        duplicated = torch.cat([spread, spread])
        assert distance(duplicated, spread + 1).item() == pytest.approx(
            numpy_distance(duplicated, spread + 1), rel=1e-9
        )


def test_never_negative() -> None:
    for seed in range(20):
        x = samples(30, seed)
        assert frechet_distance(*weighted_moments(x), *weighted_moments(x.flip(0))) >= 0
        assert streamed(x, x.flip(0)) >= 0


@examples
@given(seed=st.integers(0, 10_000), cut=st.integers(0, 25), log_scale=st.floats(-140, 140))
def test_permuting_splitting_rescaling_and_zero_weights_change_nothing(seed: int, cut: int, log_scale: float) -> None:
    rng = np.random.default_rng(seed)
    real, generated, w = samples(25, seed, d=4), samples(25, seed + 1, d=4), skewed_weights(25, seed)
    expected = numpy_distance(real, generated, w=w)
    order = torch.from_numpy(rng.permutation(25))
    shuffled, weights = generated[order], w[order] * 10.0**log_scale

    metric = FrechetDistance(4)
    metric.update(real[:cut], real=True)
    metric.update(shuffled[:cut], real=False, weights=weights[:cut])
    metric.update(samples(3, seed + 2, d=4), real=False, weights=torch.zeros(3))
    metric.update(shuffled[cut:], real=False, weights=weights[cut:])
    metric.update(real[cut:], real=True)
    assert metric.compute().item() == pytest.approx(expected, rel=1e-8, abs=1e-8)

    padded = torch.cat([shuffled, samples(30, seed + 3, d=4)])
    padded_weights = torch.cat([weights, torch.zeros(30)])
    value = frechet_distance_from_features(real, padded, generated_weights=padded_weights)
    assert value.item() == pytest.approx(expected, rel=1e-8, abs=1e-8)


def test_weight_2_equals_a_duplicate_in_the_mean_but_not_in_the_unbiased_covariance() -> None:
    x = samples(10, 20)
    w = torch.ones(10, dtype=torch.float64)
    w[0] = 2
    mean, covariance = weighted_moments(x, w)
    duplicated_mean, duplicated_covariance = weighted_moments(torch.cat([x[:1], x]))
    torch.testing.assert_close(mean, duplicated_mean)
    ess = w.sum() ** 2 / w.square().sum()
    torch.testing.assert_close(covariance * (1 - 1 / ess), duplicated_covariance * (1 - 1 / 11))


def test_weightings_in_one_pass_equal_separate_metrics() -> None:
    real, generated = samples(40, 21), samples(30, 22)
    w = torch.stack([skewed_weights(30, seed) for seed in (1, 2, 3)], dim=1)
    v = torch.stack([skewed_weights(40, seed) for seed in (4, 5, 6)], dim=1)
    shared, own = FrechetDistance(D, num_weightings=3), FrechetDistance(D, num_weightings=3)
    shared.update(real, real=True, weights=v[:, 0])
    assert shared.real_product.shape[0] == 1  # one copy of what all weightings share
    own.update(real[:15], real=True, weights=v[:15, 0])  # shared so far, each its own from here
    own.update(real[15:], real=True, weights=v[15:])
    for metric in (shared, own):
        metric.update(generated[:10], real=False, weights=w[:10])
        metric.update(generated[10:], real=False, weights=w[10:])
        assert metric.compute().shape == (3,)
        assert metric.compute().dtype == torch.float64
    v_own = torch.cat([v[:15, :1].expand(15, 3), v[15:]])
    for j in range(3):
        assert shared.compute()[j].item() == pytest.approx(numpy_distance(real, generated, v[:, 0], w[:, j]), rel=1e-9)
        assert own.compute()[j].item() == pytest.approx(numpy_distance(real, generated, v_own[:, j], w[:, j]), rel=1e-9)


def test_shared_weights_are_broadcast_to_all_weightings() -> None:
    metric = FrechetDistance(D, num_weightings=2)
    w = skewed_weights(30, 23)
    metric.update(samples(30, 24), real=True)
    metric.update(samples(30, 25), real=False, weights=w)
    expected = numpy_distance(samples(30, 24), samples(30, 25), w=w)
    assert metric.compute().tolist() == pytest.approx([expected, expected], rel=1e-9)


def test_paper_convention_scales_mean_and_covariance() -> None:
    real, generated, w = samples(40, 26), samples(40, 27), skewed_weights(40, 28)
    w = w / w.sum()
    metric = PaperFrechetDistance(D, num_weightings=2)
    metric.update(real, real=True)
    metric.update(generated, real=False, weights=torch.stack([w, 1.3 * w], dim=1))
    mean, covariance = np.average(generated, axis=0, weights=w), np.cov(generated, rowvar=False, aweights=w)
    for value, s in zip(metric.compute().tolist(), (1.0, 1.3), strict=True):
        expected = cleanfid_frechet_distance(real.mean(0).numpy(), np.cov(real, rowvar=False), s * mean, s * covariance)
        assert value == pytest.approx(expected, rel=1e-9)


def test_paper_convention_rejects_rows_with_and_without_weights() -> None:
    metric = PaperFrechetDistance(D)
    metric.update(samples(5, 0), real=True)
    metric.update(samples(5, 1), real=False)
    metric.update(samples(5, 2), real=False, weights=torch.ones(5))
    with pytest.raises(InputError, match="5 generated rows came without weights"):
        metric.compute()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_any_float_dtype_is_summed_in_float64(dtype: torch.dtype) -> None:
    real, generated = samples(40, 29).to(dtype), samples(40, 30).to(dtype)
    assert streamed(real, generated).item() == pytest.approx(numpy_distance(real, generated), rel=1e-9)
    assert frechet_distance_from_features(real, generated).dtype == torch.float64


def test_states_stay_float64_whatever_the_metric_is_cast_to() -> None:
    metric = FrechetDistance(D)
    metric.update(samples(20, 31), real=True)
    metric.update(samples(20, 32), real=False)
    before = metric.real_product.clone()
    module = torch.nn.Sequential()
    module.add_module("metric", metric)
    module.half().float().to(torch.bfloat16)
    metric.set_dtype(torch.float16)
    metric.to("cpu")
    assert torch.equal(metric.real_product, before)
    metric.reset()
    assert metric.real_product.dtype == torch.float64
    assert metric.real_product.abs().sum() == 0


def test_compute_twice_pickle_reset_merge_and_forward() -> None:
    real, generated = samples(20, 33), samples(20, 34)
    metric = FrechetDistance(D)
    assert metric(real, real=True) is None
    metric.update(generated, real=False)
    value = metric.compute()
    assert value.shape == ()
    assert torch.equal(metric.compute(), value)
    copy = pickle.loads(pickle.dumps(metric))
    copy.update(real, real=True)
    assert metric.compute() == value
    metric.update(real, real=True)
    torch.testing.assert_close(metric.compute(), copy.compute(), rtol=1e-12, atol=0)

    other = FrechetDistance(D)
    other.update(generated, real=False)
    metric.reset()
    metric.update(real, real=True)
    metric.merge_state(other)
    torch.testing.assert_close(metric.compute(), value, rtol=1e-12, atol=0)


def test_updates_outside_inference_mode_after_a_reset_inside_it() -> None:
    metric = FrechetDistance(D)
    real, generated = samples(20, 35), samples(20, 36)
    with torch.inference_mode():
        metric.update(real, real=True)
        metric.reset()
    metric.update(real, real=True)
    metric.update(generated.requires_grad_(), real=False)
    assert metric.compute().item() == pytest.approx(numpy_distance(real, generated.detach()), rel=1e-9)


def test_the_global_random_state_is_left_alone() -> None:
    state = torch.get_rng_state()
    streamed(samples(20, 37), samples(20, 38))
    assert torch.equal(torch.get_rng_state(), state)


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("features", "weights", "message"),
    [
        (torch.tensor([[NAN, 0.0]]), None, "features contain NaN or infinite"),
        (torch.tensor([[INF, -INF]]), None, "features contain NaN or infinite"),
        (torch.ones(2, 2, dtype=torch.int64), None, "dtype torch.int64, expected a floating dtype"),
        (torch.ones(2, 3), None, r"shape \(2, 3\), expected \(n, 2\)"),
        (torch.ones(2), None, r"shape \(2,\), expected \(n, 2\)"),
        (torch.ones(2, 2), torch.tensor([1.0, NAN]), "weights contain NaN or infinite"),
        (torch.ones(2, 2), torch.tensor([1.0, INF]), "weights contain NaN or infinite"),
        (torch.ones(2, 2), torch.tensor([1.0, -0.5]), "a weight is -0.5, expected non-negative"),
        (torch.ones(2, 2), torch.ones(3), r"weights have shape \(3,\), expected \(2,\)"),
        (torch.ones(2, 2), torch.ones(2, 5), r"weights have shape \(2, 5\)"),
        (torch.ones(2, 2), torch.ones(2, 1, 1), r"weights have shape \(2, 1, 1\)"),
        (torch.ones(2, 2), torch.tensor(1.0), "weights have shape"),
        (torch.ones(2, 2), torch.ones(2, dtype=torch.int32), "dtype torch.int32, expected a floating dtype"),
        (torch.ones(2, 2), torch.tensor([1e200, 1.0], dtype=torch.float64), "overflow float64"),
    ],
)
def test_bad_batches_are_named(features: Tensor, weights: Tensor | None, message: str) -> None:
    metric = FrechetDistance(2)
    with pytest.raises(InputError, match=message):
        inspect.unwrap(FrechetDistance.update)(metric, features, True, weights)
    assert metric.real_product.abs().sum() == 0


def test_bad_functional_inputs_are_named() -> None:
    x = samples(5, 0)
    with pytest.raises(InputError, match="sample features contain NaN"):
        weighted_moments(torch.full((3, 2), NAN))
    with pytest.raises(InputError, match="weights are all zero"):
        weighted_moments(x, torch.zeros(5))
    with pytest.raises(InputError, match="one row that carries all the weight"):
        weighted_moments(x[:1])
    with pytest.raises(InputError, match="real features have 12 columns and generated ones 3"):
        inspect.unwrap(frechet_distance_from_features)(x, torch.ones(4, 3))
    with pytest.raises(InputError, match=r"cov_b has shape \(3, 3\), expected \(2, 2\)"):
        inspect.unwrap(frechet_distance)(torch.zeros(2), torch.eye(2), torch.zeros(2), torch.eye(3))
    with pytest.raises(InputError, match="cov_a contains NaN"):
        frechet_distance(torch.zeros(2), torch.full((2, 2), NAN), torch.zeros(2), torch.eye(2))


def test_bad_arguments_are_named() -> None:
    with pytest.raises(InputError, match="num_features is 0"):
        FrechetDistance(0)
    with pytest.raises(InputError, match="num_weightings is 0"):
        FrechetDistance(2, num_weightings=0)


def test_compute_without_enough_weight_is_refused() -> None:
    metric = FrechetDistance(D)
    with pytest.raises(InputError, match="the real side has no weight"):
        metric.compute()
    metric.update(samples(1, 0), real=True)
    metric.update(samples(5, 1), real=False, weights=torch.zeros(5))
    with pytest.raises(InputError, match="the real side has one row"):
        metric.compute()
    metric.update(samples(4, 0), real=True)
    with pytest.raises(InputError, match="the generated side has no weight"):
        metric.compute()
    metric.update(samples(5, 1), real=False, weights=torch.tensor([0.0, 3.0, 0.0, 0.0, 0.0]))
    with pytest.raises(InputError, match="the generated side has one row that carries all the weight"):
        metric.compute()


@pytest.mark.parametrize(
    ("features", "weight", "message"),
    [
        (torch.eye(2, dtype=torch.float64), 1e-170, "underflow float64"),
        (1e120 * torch.eye(2, dtype=torch.float64), 1e120, "overflow float64"),
        (torch.eye(2, dtype=torch.float64), 5e-324, "underflow float64"),
    ],
)
def test_sums_out_of_range_say_to_rescale(features: Tensor, weight: float, message: str) -> None:
    metric = FrechetDistance(2)
    metric.update(torch.eye(2), real=True)
    metric.update(features, real=False, weights=torch.full((2,), weight, dtype=torch.float64))
    with pytest.raises(InputError, match=message):
        metric.compute()


@pytest.mark.parametrize(("n", "m"), [(3, 3), (3, 20), (20, 20)])
def test_features_out_of_range_say_to_rescale(n: int, m: int) -> None:
    real, generated = samples(n, 39) * 1e160, samples(m, 40) * 1e160
    with pytest.raises(InputError, match=r"rescale the features|contains NaN or infinite"):
        frechet_distance_from_features(real, generated)
    with pytest.raises(InputError, match="rescale the features"):
        streamed(real, generated)
