import doctest
import importlib
import inspect
import math
import pickle

import numpy as np
import pytest
import torch
import torch_fidelity.metric_prc
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from torch import Tensor

from lfiw.errors import InputError
from lfiw.metrics import PrecisionRecall, precision_recall

D = 4
NAMES = ("precision", "recall", "density", "coverage")
examples = settings(max_examples=5, deadline=None, derandomize=True)


def samples(n: int, seed: int, d: int = D, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d)) + shift)


def skewed_weights(n: int, seed: int, sigma: float = 1.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).lognormal(sigma=sigma, size=n))


def naive_radius(rows: np.ndarray, weights: np.ndarray, i: int, k: int) -> float:
    """The smallest distance within which the other rows have mass k/n; of the farthest, if they have less."""
    distances = np.linalg.norm(rows - rows[i], axis=1)
    others = np.arange(len(rows)) != i
    for r in np.sort(distances[others]):
        if weights[others & (distances <= r)].sum() >= k / len(rows) - 1e-12:
            return float(r)
    return float(distances.max())


def naive_scores(x: Tensor, y: Tensor, v: Tensor | None = None, w: Tensor | None = None, k: int = 3) -> list[float]:
    """The definitions, row by row."""
    sides = []
    for rows, weights in ((x, v), (y, w)):
        weights = torch.ones(len(rows), dtype=torch.float64) if weights is None else weights.double()
        rows, weights = rows[weights > 0].double().numpy(), weights[weights > 0].numpy()
        weights = weights / weights.sum()
        sides.append((rows, weights, [naive_radius(rows, weights, i, k) for i in range(len(rows))]))
    (x_rows, x_weights, x_radii), (y_rows, y_weights, y_radii) = sides
    distance = np.linalg.norm(x_rows[:, None] - y_rows[None], axis=2)
    in_real = distance <= np.array(x_radii)[:, None]
    in_generated = distance <= np.array(y_radii)[None]
    mass = in_real @ y_weights
    return [
        float(y_weights @ in_real.any(axis=0)),
        float(x_weights @ in_generated.any(axis=1)),
        float(x_weights @ mass) * len(x_rows) / k,
        float(x_weights @ (mass >= 1 / len(y_rows) - 1e-12)),
    ]


def papers_definitions(x: np.ndarray, y: np.ndarray, k: int) -> list[float]:
    """As Kynkäänniemi et al. and Naeem et al. write them, without weights: counts alone."""
    radius = {name: np.sort(np.linalg.norm(z[:, None] - z, axis=2))[:, k] for name, z in (("x", x), ("y", y))}
    distance = np.linalg.norm(x[:, None] - y, axis=2)
    inside = distance <= radius["x"][:, None]
    return [
        inside.any(0).mean(),
        (distance <= radius["y"]).any(1).mean(),
        inside.sum() / (k * len(y)),
        inside.any(1).mean(),
    ]


def values(scores: dict[str, Tensor]) -> list[float]:
    assert tuple(scores) == NAMES
    return [value.item() for value in scores.values()]


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
def test_uniform_weights_are_the_papers_and_torch_fidelitys(k: int, shift: float) -> None:
    x, y = samples(230, 0), samples(170, 1, shift=shift)
    found = values(precision_recall(x, y, neighbours=k))
    assert found == pytest.approx(papers_definitions(x.numpy(), y.numpy(), k), rel=1e-12)
    for cpu_ram in (False, True):  # its two routes
        options = {"prc_neighborhood": k, "prc_batch_size": 64, "save_cpu_ram": cpu_ram, "verbose": False}
        oracle = torch_fidelity.metric_prc.prc_features_to_metric(y, x, **options)  # input 1 is the generated one
        # its mean is in float32
        assert found[:2] == pytest.approx([oracle["precision"], oracle["recall"]], rel=1e-6)


def test_float32_features_of_many_dimensions_agree_with_torch_fidelity() -> None:
    """Both round in float32: a pair at the rim of a ball may fall on the other side."""
    x, y = samples(600, 2, d=256).float() + 5, samples(500, 3, d=256).float() * 1.02 + 5.02
    found = precision_recall(x, y)
    options = {"prc_neighborhood": 3, "prc_batch_size": 1000, "save_cpu_ram": False, "verbose": False}
    oracle = torch_fidelity.metric_prc.prc_features_to_metric(y, x, **options)
    assert 0.05 < oracle["precision"] < 0.95
    for name in ("precision", "recall"):
        assert found[name].item() == pytest.approx(oracle[name], abs=2 / 500)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("block_size", [1, 100, 1 << 20])
def test_weights_on_both_sides(sigma: float, block_size: int) -> None:
    x, y = samples(90, 4), samples(80, 5, shift=0.7)
    v, w = skewed_weights(90, 6, sigma), skewed_weights(80, 7, sigma)
    for k in (1, 4):
        for real_weights, generated_weights in ((v, w), (None, w), (v, None)):
            found = precision_recall(x, y, real_weights, generated_weights, neighbours=k, block_size=block_size)
            expected = naive_scores(x, y, real_weights, generated_weights, k)
            assert values(found) == pytest.approx(expected, rel=1e-12)


def test_masses_that_the_first_neighbours_do_not_reach() -> None:
    """200 light rows about the origin and ten heavy ones far off: the light ones look beyond their 64 nearest."""
    y = torch.cat([samples(200, 8), samples(10, 9, shift=50.0)])
    w = torch.cat([torch.full((200,), 1e-6), torch.ones(10)]).double()
    x = samples(60, 10)
    assert values(precision_recall(x, y, None, w)) == pytest.approx(naive_scores(x, y, None, w), rel=1e-12)
    one = torch.cat([torch.full((209,), 1e-9), torch.ones(1)]).double()  # the others together have no mass k/n
    assert values(precision_recall(x, y, None, one)) == pytest.approx(naive_scores(x, y, None, one), rel=1e-12)


@examples
@given(seed=st.integers(0, 10_000), cut=st.integers(0, 30), log_scale=st.floats(-140, 140))
def test_permuting_splitting_rescaling_and_zero_weights_change_nothing(seed: int, cut: int, log_scale: float) -> None:
    x, y, w = samples(25, seed), samples(30, seed + 1, shift=0.5), skewed_weights(30, seed)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(30))
    shuffled, weights = y[order], w[order] * 10.0**log_scale
    metric = PrecisionRecall(D)
    metric.update(shuffled[:cut], real=False, weights=weights[:cut])
    metric.update(samples(3, seed + 2), real=False, weights=torch.zeros(3))
    metric.update(x.flip(0), real=True)
    metric.update(samples(2, seed + 3), real=True, weights=torch.zeros(2))
    metric.update(shuffled[cut:], real=False, weights=weights[cut:])
    assert values(metric.compute()) == pytest.approx(naive_scores(x, y, w=w), rel=1e-9)


def test_weightings_in_one_pass_equal_separate_ones() -> None:
    x, y = samples(40, 11), samples(35, 12, shift=0.5)
    v = torch.stack([skewed_weights(40, seed) for seed in (1, 2, 3)], dim=1)
    w = torch.stack([skewed_weights(35, 4), torch.ones(35), skewed_weights(35, 5)], dim=1)
    w[:4, 0] = 0  # in one weighting alone
    w[7:9, 1] = 0
    for real_weights, metric_weights in ((v, v), (v[:, 0], v[:, 0]), (None, None)):
        metric = PrecisionRecall(D, num_weightings=3)
        metric.update(x, real=True, weights=metric_weights)
        metric.update(y[:20], real=False, weights=w[:20])
        metric.update(y[20:], real=False, weights=w[20:])
        found, plain = metric.compute(), precision_recall(x, y, real_weights, w, block_size=200)
        for column in range(3):
            own = None if real_weights is None else v[:, column if real_weights.ndim == 2 else 0]
            expected = naive_scores(x, y, own, w[:, column])
            for scores in (found, plain):
                assert [scores[name][column].item() for name in NAMES] == pytest.approx(expected, rel=1e-9)
    shared = precision_recall(x, y, v, skewed_weights(35, 6))
    expected = naive_scores(x, y, v[:, 2], skewed_weights(35, 6))
    assert [shared[name][2].item() for name in NAMES] == pytest.approx(expected, rel=1e-9)


def test_weights_correct_the_proportions_of_two_clusters() -> None:
    """What a sample is worth: half of the generated rows lie where no data are; weights that say so mend precision."""
    x = samples(200, 13)
    y = torch.cat([samples(100, 14), samples(100, 15, shift=30.0)])
    before = precision_recall(x, y)
    w = torch.cat([torch.ones(100), torch.full((100,), 1e-6)])
    after = precision_recall(x, y, None, w)
    assert before["precision"] < 0.5
    assert after["precision"] > 1.9 * before["precision"]
    # a heavy copy of one row covers only what that row covers
    collapsed = torch.cat([torch.ones(1), torch.full((199,), 1e-9)])
    assert precision_recall(x, y, None, collapsed)["coverage"] < 0.2 < after["coverage"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_rows_are_at_distance_0_and_rims_are_inside(dtype: torch.dtype) -> None:
    """Far from the origin and with radius 0: rounding must not push a copy of a row out of that row's ball."""
    x = (samples(20, 16, d=64) + 100).to(dtype).repeat(5, 1)
    found = precision_recall(x, x.flip(0), neighbours=3)
    assert values(found) == pytest.approx([1, 1, 5 / 3, 1], rel=1e-6)  # each ball holds the five copies
    grid = torch.arange(10, dtype=dtype)[:, None]
    # radius 1, at the ends 1 as well: each ball reaches the next row
    assert values(precision_recall(grid, grid + 1, neighbours=1)) == pytest.approx([1, 1, 2.7, 1], rel=1e-6)


@pytest.mark.parametrize(("spread", "offset"), [(1e-1, 1.0), (1e-2, 0.0), (1e-3, 1.0), (1e-4, 0.0), (1e-6, 1.0)])
def test_near_copies_keep_their_distances(spread: float, offset: float) -> None:
    """Rows in tight clusters and copies of real rows, float32, against scipy's distances: the counts are equal."""
    centres = samples(30, 17, d=64).repeat(6, 1) + offset
    x = (centres + spread * samples(180, 18, d=64)).float()
    y = torch.cat([centres + spread * samples(180, 19, d=64), x[:90] + spread * samples(90, 20, d=64)]).float()
    rows = (x.double().numpy(), y.double().numpy())
    radii = [np.sort(cdist(side, side), axis=1)[:, 3] for side in rows]
    inside = cdist(*rows) <= radii[0][:, None]
    recalled = (cdist(*rows) <= radii[1]).any(axis=1)
    expected = [inside.any(axis=0).mean(), recalled.mean(), inside.sum() / (3 * len(y)), inside.any(axis=1).mean()]
    assert values(precision_recall(x, y, block_size=20_000)) == pytest.approx(expected, rel=1e-12)
    tiny = 2.0**-80  # squares are no float32
    assert values(precision_recall(tiny * x, tiny * y)) == pytest.approx(expected, rel=1e-12)


def test_metric_behaviour() -> None:
    x, y = samples(30, 22).float(), samples(29, 23).float()
    metric = PrecisionRecall(D, neighbours=2)
    assert metric(x, real=True) is None
    buffer = y.clone()
    metric.update(buffer, real=False)
    buffer.zero_()  # what was seen stays seen
    expected = naive_scores(x, y, k=2)
    assert values(metric.compute()) == pytest.approx(expected, rel=1e-6)
    assert all(value.shape == () and value.dtype == torch.float64 for value in metric.compute().values())
    metric.half().to(torch.float16).set_dtype(torch.float16)
    assert metric.real_features[0].dtype == torch.float32
    copy = pickle.loads(pickle.dumps(metric))
    copy.update(x[:0], real=True)
    assert values(copy.compute()) == pytest.approx(expected, rel=1e-6)
    metric.reset()
    with pytest.raises(InputError, match="the real side has no rows"):
        metric.compute()
    for half in (torch.bfloat16, torch.float16):
        rounded = precision_recall(x.to(half), y.to(half), neighbours=2)
        assert values(rounded) == pytest.approx(naive_scores(x.to(half), y.to(half), k=2), rel=1e-6)


def test_bad_input_is_named() -> None:
    x, y = samples(6, 26), samples(5, 27)
    for arguments, message in (
        ((x, y, None, None, 5), "neighbours=5, but the generated side has 5 rows that carry weight: more than 5"),
        ((x, y, None, torch.tensor([1.0, 1, 1, 0, 0])), "neighbours=3, but the generated side has 3 rows"),
        ((x, y, None, None, 0), "neighbours=0 must be at least 1"),
        ((x * math.nan, y), "real features contain NaN"),
        ((x, torch.ones(5, 3)), "real features have 4 columns and generated ones 3"),
        ((x, y, torch.zeros(6)), "the real weights are all zero"),
        ((x, y, torch.ones(6, 2), torch.ones(5, 3)), "real weights have 2 columns and generated ones 3"),
        ((x.float() * 1e20, y.float()), "overflow torch.float32: rescale"),
        ((x, y, None, None, 3, 0), "block_size is 0"),
    ):
        with pytest.raises(InputError, match=message):
            inspect.unwrap(precision_recall)(*arguments)
    with pytest.raises(InputError, match="neighbours=0"):
        PrecisionRecall(2, neighbours=0)
    with pytest.raises(InputError, match="num_features is 0"):
        PrecisionRecall(0)


def test_doctest() -> None:
    module = importlib.import_module("lfiw.metrics.neighbours")
    assert doctest.testmod(module, extraglobs={"torch": torch}).failed == 0
