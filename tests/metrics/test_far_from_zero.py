"""Features far from zero, of any scale: scores agree with exact or centred oracles on the very same numbers."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from lfiw.data.table import TensorTable
from lfiw.data.transforms import standardise
from lfiw.errors import LostScore
from lfiw.metrics import (
    FrechetDistance,
    frechet_distance_from_features,
    kernel_distance,
    precision_recall,
    weighted_moments,
)
from lfiw.metrics.frechet import FrechetReference
from lfiw.metrics.influence import frechet_contributions, kernel_contributions
from lfiw.metrics.paper import PaperFrechetDistance
from lfiw.metrics.projected import ProjectedSample
from lfiw.ratio.mixed import MixedDataModule

SHIFTS = (0.0, 1.0, 1e4, 1e6, 1e8)
SCALES = (1e-8, 1.0, 1e8)
anywhere = pytest.mark.parametrize(("shift", "scale"), [(a, b) for a in SHIFTS for b in SCALES])


def sides(shift: float, scale: float, n: int = 60, m: int = 50) -> tuple[Tensor, Tensor]:
    """Two samples of which one column lies at the shift; float64 keeps what it can of their spread."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, 3)) * [1, 2, 0.5], rng.normal(size=(m, 3)) + 0.5
    offset = np.array([shift, -shift / 3, 0.0])
    return torch.from_numpy(x * scale + offset), torch.from_numpy(y * scale + offset)


def skewed_weights(n: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).lognormal(size=n))


def centred_distance(real: Tensor, generated: Tensor, w: Tensor | None = None) -> float:
    """NumPy's moments and SciPy's root of the rows less a common row, which is exact, at unit scale."""
    x, y = (np.asarray(z.numpy(), dtype=np.longdouble) - real[0].numpy() for z in (real, generated))
    unit = np.abs(x).max()
    x, y = (x / unit).astype(float), (y / unit).astype(float)
    w = None if w is None else w.numpy()
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False, aweights=w)
    difference = x.mean(0) - np.average(y, axis=0, weights=w)
    return float(difference @ difference + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)) * float(unit) ** 2


def exact_kernel_distance(real: Tensor, generated: Tensor, w: Tensor) -> float:
    """The definition on the raw features, in rational numbers."""
    x, y = ([[Fraction(value) for value in row] for row in side.tolist()] for side in (real, generated))
    total = sum(map(Fraction, w.tolist()))
    u, v = [Fraction(1, len(x))] * len(x), [Fraction(value) / total for value in w.tolist()]

    def mean(a: Any, b: Any, of_a: Any, of_b: Any) -> Fraction:
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if a is not b or i != j]
        kernel = {(i, j): (sum(p * q for p, q in zip(a[i], b[j], strict=True)) / len(a[i]) + 1) ** 3 for i, j in pairs}
        found = sum(of_a[i] * of_b[j] * value for (i, j), value in kernel.items())
        return found / (1 - sum(value**2 for value in of_a)) if a is b else found

    return float(mean(x, x, u, u) + mean(y, y, v, v) - 2 * mean(x, y, u, v))


@anywhere
def test_frechet_distance_by_every_route(shift: float, scale: float) -> None:
    real, generated = sides(shift, scale)
    w = skewed_weights(len(generated))
    metric = FrechetDistance(3, num_weightings=2)
    for rows in (slice(0, 7), slice(7, None)):
        metric.update(real[rows], real=True)
        metric.update(generated[rows], real=False, weights=torch.stack([torch.ones_like(w), w], 1)[rows])
    expected, weighted = centred_distance(real, generated), centred_distance(real, generated, w)
    assert metric.compute().tolist() == pytest.approx([expected, weighted], rel=1e-6)
    columns = torch.stack([torch.ones_like(w), w], 1)
    assert frechet_contributions(real, generated, columns).score.tolist() == pytest.approx([expected, weighted], 1e-6)
    assert FrechetReference(real).distance(generated, w).item() == pytest.approx(weighted, rel=1e-6)
    assert frechet_distance_from_features(real, generated).item() == pytest.approx(expected, rel=1e-6)
    if shift <= 1e4 * scale:  # a mean of its own is rounded at the features' distance from zero
        mean, covariance = weighted_moments(generated, w)
        np.testing.assert_allclose(mean, np.average(generated, axis=0, weights=w), rtol=1e-12)
        np.testing.assert_allclose(covariance, np.cov(generated, rowvar=False, aweights=w), rtol=1e-6)


def test_few_rows_of_many_columns_far_from_zero() -> None:
    rng = np.random.default_rng(2)
    real, generated = (torch.from_numpy(rng.normal(size=(n, 40))) for n in (9, 12))
    # multiples of 2⁻²⁰ stay what they are at 2³⁰
    real, generated = ((x * 2**20).round() / 2**20 for x in (real, generated))
    expected = frechet_distance_from_features(real, generated).item()
    for far in (frechet_distance_from_features, lambda x, y: FrechetReference(x).distance(y)):
        assert far(real + 2**30, generated + 2**30).item() == pytest.approx(expected, rel=1e-6)


def test_merged_metrics_with_other_centres() -> None:
    real, generated = sides(1e6, 1.0)
    order = real[:, 0].argsort()
    parts = [FrechetDistance(3), FrechetDistance(3), FrechetDistance(3)]  # the last sees no rows
    for metric, rows in zip(parts, (order[:30], order[30:]), strict=False):
        metric.update(real[rows], real=True)
    parts[1].update(generated, real=False)
    assert not torch.equal(parts[0].centre, parts[1].centre)
    expected = pytest.approx(centred_distance(real, generated), rel=1e-9)
    merged = FrechetDistance(3)
    for metric in (parts[2], parts[0], parts[1]):
        merged.merge_state(metric)
    assert merged.compute().item() == expected


def test_a_first_batch_far_from_the_rest_is_an_error_and_no_number() -> None:
    real, generated = sides(0.0, 1.0)
    metric = FrechetDistance(3)
    far = torch.full((2, 3), 1e9, dtype=torch.float64)
    metric.update(far, real=True, weights=torch.full((2,), 1e-30, dtype=torch.float64))
    metric.update(real, real=True, weights=torch.ones(60))
    metric.update(generated, real=False)
    with pytest.raises(LostScore, match="the sums cancelled"):
        metric.compute()


def test_equal_rows_far_from_zero_are_at_distance_0() -> None:
    metric = FrechetDistance(2)
    for real in (True, False):
        metric.update(torch.full((7, 2), 1e6 + 0.1, dtype=torch.float64), real=real)
    assert metric.compute() == 0


def test_paper_convention_scales_the_whole_mean() -> None:
    real, generated = sides(1e3, 1.0)
    metric = PaperFrechetDistance(3)
    metric.update(real, real=True)
    metric.update(generated, real=False, weights=torch.full((50,), 1.3 / 50, dtype=torch.float64))
    a, b = np.cov(real, rowvar=False), 1.3 * np.cov(generated, rowvar=False)
    difference = real.numpy().mean(0) - 1.3 * generated.numpy().mean(0)
    expected = difference @ difference + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
    assert metric.compute().item() == pytest.approx(expected, rel=1e-9)


@anywhere
def test_kernel_distance_is_that_of_the_raw_features(shift: float, scale: float) -> None:
    real, generated = sides(shift, scale, 9, 8)
    for w in (torch.ones(8, dtype=torch.float64), skewed_weights(8)):
        expected = pytest.approx(exact_kernel_distance(real, generated, w), rel=1e-9)
        assert kernel_distance(real, generated, None, w).item() == expected
        assert kernel_contributions(real, generated, w[:, None]).score.item() == expected


def test_contributions_to_a_kernel_distance_far_from_zero() -> None:
    """w̄ᵢ/√(1 − w̄ᵢ) times twice the exact mean kernel to the other rows less that to the real rows, centred."""
    real, generated = sides(300.0, 1.0, 6, 5)
    w = skewed_weights(5)
    share, rows = (w / w.sum()).numpy(), generated.tolist()

    def kernel(a: list[float], b: list[float]) -> Fraction:
        return (sum(Fraction(p) * Fraction(q) for p, q in zip(a, b, strict=True)) / 3 + 1) ** 3

    influence = []
    for i, row in enumerate(rows):
        others = sum(Fraction(share[j]) * kernel(row, rows[j]) for j in range(5) if j != i) / (1 - Fraction(share[i]))
        influence.append(2 * float(others - sum(kernel(row, x) for x in real.tolist()) / 6))
    centred = np.array(influence) - share @ influence
    found = kernel_contributions(real, generated, w[:, None]).generated[:, 0]
    np.testing.assert_allclose(found, share * centred / np.sqrt(1 - share), rtol=1e-6)


def test_a_kernel_that_overflows_is_an_error_and_no_number() -> None:
    real, generated = sides(0.0, 1e60)
    with pytest.raises(LostScore, match="overflows float64: rescale"):
        kernel_distance(real, generated)


@anywhere
def test_precision_and_recall(shift: float, scale: float) -> None:
    real, generated = sides(shift, scale)
    found = precision_recall(real, generated)
    x, y = (z.numpy() for z in (real, generated))
    radius = {name: np.sort(np.linalg.norm(z[:, None] - z, axis=2))[:, 3] for name, z in (("x", x), ("y", y))}
    distance = np.linalg.norm(x[:, None] - y, axis=2)
    inside = distance <= radius["x"][:, None] * (1 + 1e-12)
    expected = [inside.any(0).mean(), (distance <= radius["y"] * (1 + 1e-12)).any(1).mean(), inside.sum() / 150]
    assert [found[name].item() for name in ("precision", "recall", "density")] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("closeness", [1e-3, 1e-5])
def test_near_copies_count_by_their_distances(closeness: float, dtype: torch.dtype) -> None:
    """Pairs of rows that differ by less than 0.3 % of their norm, and a generated row out of reach of each ball."""
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(40, 64, generator=generator, dtype=torch.float64).to(dtype).double()
    step = closeness * torch.nn.functional.normalize(torch.randn(40, 64, generator=generator).double(), dim=1) * 8
    real = torch.cat([base, base + step]).to(dtype)
    generated = torch.cat([base + 0.5 * step, base + 3 * step]).to(dtype)
    found = precision_recall(real, generated, neighbours=1)
    # a ball of one step about each of the two copies holds the row between them and not the one two steps further
    assert found["density"].item() == pytest.approx(1.0, abs=1e-12)
    assert found["precision"].item() == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 1e4, 1e6, 1e12])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_the_ratio_sees_standardised_vectors_wherever_they_lie(shift: float, scale: float) -> None:
    real, generated = sides(shift, scale, 60, 60)
    near_real, near_generated = (side - torch.tensor([shift, -shift / 3, 0.0]).double() for side in (real, generated))
    inputs = []
    for x, y in ((real, generated), (near_real, near_generated)):
        data = MixedDataModule(TensorTable({"vector": x}), TensorTable({"vector": y}), input="vector")
        data.setup()
        spec = data.input_spec()
        assert spec.dtype == "torch.float64"
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (spec.mean, spec.std))
        inputs.append((standardise(x, mean, std).float(), std))
    (far, far_std), (near, near_std) = inputs
    moved = far_std != 1.0  # what float64 itself has rounded to a constant is left alone
    assert moved.all() or shift > 1e14 * scale
    offset = (far - near).mean(0)[moved]  # the mean is rounded at the values' distance from zero
    assert (offset.abs() <= 1e-6 + 4e-16 * shift / near_std[moved]).all()
    torch.testing.assert_close((far - offset)[:, moved] if moved.all() else near, near, rtol=2e-6, atol=2e-6)


def streamed(real: Tensor, generated: Tensor) -> Tensor:
    metric = FrechetDistance(3)
    metric.update(real, real=True)
    metric.update(generated, real=False)
    return metric.compute()


FRECHET = {
    "streamed": streamed,
    "from features": frechet_distance_from_features,
    "from few": lambda real, generated: frechet_distance_from_features(real[:3].repeat(1, 2), generated.repeat(1, 2)),
    "to a reference": lambda real, generated: FrechetReference(real).distance(generated),
    "of a projected sample": lambda real, generated: ProjectedSample(FrechetReference(real), generated).distances(
        torch.ones(len(generated), 1, dtype=torch.float64)
    )[0],
}


@pytest.mark.parametrize("name", FRECHET)
@pytest.mark.parametrize("scale", [1e-70, 1e-40, 1e40, 1e70])
def test_a_distance_scales_with_the_square(name: str, scale: float) -> None:
    real, generated = sides(0, 1)
    goal = FRECHET[name](real, generated).item()
    found = FRECHET[name](scale * real, scale * generated).item() / scale**2
    # centred, few rows leave an eigenvalue of 0, whose root is that of rounding
    assert found == pytest.approx(goal, rel=1e-7 if name == "from few" else 1e-9)


@pytest.mark.parametrize("name", FRECHET)
@pytest.mark.parametrize("scale", [1e-200, 1e-160, 1e-100])
def test_squares_that_vanish_are_no_distance_of_zero(name: str, scale: float) -> None:
    real, generated = sides(0, 1)
    with pytest.raises(LostScore, match="underflow float64: rescale the features"):
        FRECHET[name](scale * real, scale * generated)


@pytest.mark.parametrize("scale", [1e-200, 1e-160])
def test_neighbours_whose_distances_vanish(scale: float) -> None:
    real, generated = sides(0, 1)
    with pytest.raises(LostScore, match="squared distances of these features underflow float64"):
        precision_recall(scale * real, scale * generated)


def test_equal_rows_are_no_underflow() -> None:
    same = torch.full((20, 3), 0.1, dtype=torch.float64)
    for name in ("streamed", "from features", "to a reference"):
        assert FRECHET[name](same, same).item() == pytest.approx(0, abs=1e-30)
    assert precision_recall(same, same)["precision"] == 1
