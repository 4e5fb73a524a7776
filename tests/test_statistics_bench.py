"""The bench of known truths: its densities, its networks, its arithmetic."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from lfiw.weighting.gate import CANNOT, CORRECTS, NOTHING
from tools.benchmarks.statistics import contest, peers
from tools.benchmarks.statistics.estimates import COMBINED, FOR_SCORES, REAL_ROWS, Found, fit, functions
from tools.benchmarks.statistics.pairs import Case, ClaytonNormals, Independent, Normals, StudentVector, build_cases
from tools.benchmarks.statistics.summary import holm, refusals_that_are_right, significantly_worse, summarise

CASES = build_cases()


def test_there_are_enough_cases_and_each_has_a_name() -> None:
    assert len(CASES) >= 40
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.d for case in CASES} >= {1, 2, 4, 8, 16, 32, 64}


@pytest.mark.parametrize(
    "density",
    [Normals(1, [-1.0, 2.0], [0.5, 1.5], [0.3, 0.7]), StudentVector(1, 3), Independent([stats.norm(1, 2)])],
    ids=["normals", "student", "independent"],
)
def test_a_density_is_that_of_its_samples(density) -> None:
    def pdf(x: float) -> float:
        return density.log_density(torch.tensor([[x]], dtype=torch.float64)).exp().item()

    assert integrate.quad(pdf, -200, 200, points=[-5, 0, 5], limit=400)[0] == pytest.approx(1, abs=1e-3)
    samples = density.sample(4000, torch.Generator().manual_seed(0))[:, 0].numpy()
    grid = np.linspace(-12, 12, 2001)
    cdf = np.cumsum([pdf(x) for x in grid]) * (grid[1] - grid[0])
    assert stats.kstest(samples, lambda x: np.interp(x, grid, cdf + stats.t.cdf(-8, 3) * 0.1)).pvalue > 1e-3


def test_correlated_normals_are_scipys() -> None:
    density = Normals(3, [0.5], [1.5], correlations=[0.4])
    covariance = 1.5**2 * (0.6 * np.eye(3) + 0.4)
    x = density.sample(5, torch.Generator().manual_seed(0))
    expected = stats.multivariate_normal([0.5] * 3, covariance).logpdf(x.numpy())
    np.testing.assert_allclose(density.log_density(x), expected, rtol=1e-10)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_can_be_drawn_and_has_finite_functions(case) -> None:
    for density in (case.p, case.q):
        x = density.sample(50, torch.Generator().manual_seed(0))
        assert x.shape == (50, case.d)
        assert torch.isfinite(functions(x)).all()
        assert torch.isfinite(case.p.log_density(x) - case.q.log_density(x)).all()


def test_a_clayton_copula_has_its_rank_correlation_and_integrates_to_one() -> None:
    density = ClaytonNormals(2, 2.0)
    x = density.sample(4000, torch.Generator().manual_seed(0)).numpy()
    assert stats.kendalltau(*x.T).statistic == pytest.approx(0.5, abs=0.03)  # θ/(θ + 2)
    assert stats.kstest(x[:, 1], "norm").pvalue > 1e-3
    grid = np.linspace(-6, 6, 401)
    rows = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    mass = density.log_density(torch.from_numpy(rows)).exp().sum().item() * (grid[1] - grid[0]) ** 2
    assert mass == pytest.approx(1, abs=5e-3)


def test_networks_of_all_seeds_find_the_ratio() -> None:
    g = torch.Generator().manual_seed(0)
    sides = [torch.randn(3, 2000, 1, dtype=torch.float64, generator=g) + shift for shift in (1.0, 0.0, 1.0, 0.0)]
    found = fit(*sides, generator=g)(torch.linspace(-1, 2, 7, dtype=torch.float64)[None, :, None].expand(3, -1, -1))
    exact = torch.linspace(-1, 2, 7, dtype=torch.float64) - 0.5
    assert found.shape == (3, 7)
    assert (found - exact).abs().max() < 0.5
    assert (found[0] - found[1]).abs().max() > 1e-6  # they are not one network


def made(name: str, errors: dict[str, float], verdict: str, k: float = 0.2) -> Found:
    """A case whose errors vary a little over 30 seeds."""
    noise = torch.randn(30, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(len(name))) * 0.01
    return Found(
        next(case for case in CASES if case.name == name),
        {
            estimator: value + (0 if estimator == "uniform" else 1) * noise
            for estimator, value in {**errors, FOR_SCORES: errors["auto"], REAL_ROWS: 0.2, COMBINED: 0.1}.items()
        },
        [k] * 30,
        [50.0] * 30,
        [verdict] * 30,
        [True] * 19 + [False],
        [True, False],
        {"with the ratio's error": torch.tensor([[True] * 9 + [False]] * 30)},
    )


def test_the_summary_counts() -> None:
    good = made("same, 1d", {"uniform": 1.0, "plain": 0.1, "calibrated": 0.2, "auto": 0.1, "exact": 0.05}, CORRECTS)
    bad = made(
        "same, 8d", {"uniform": 0.1, "plain": 1.0, "calibrated": 0.9, "auto": 0.5, "exact": 0.05}, CORRECTS, k=0.9
    )
    kept = made(
        "same, 64d", {"uniform": 0.2, "plain": 0.5, "calibrated": 0.5, "auto": 0.2, "exact": 0.05}, NOTHING, k=0.9
    )
    kept.errors["auto"] = kept.errors["uniform"].clone()
    assert significantly_worse([good, bad, kept]) == [False, True, False]
    assert refusals_that_are_right([good, bad, kept], NOTHING) == [True] * 30
    assert refusals_that_are_right([good, bad, kept], CANNOT) == []
    found = {(r["name"], r["metric"]): r["mean"] for r in summarise([good, bad, kept])}
    assert found["num_cases", "count"] == 3
    assert found["auto_significantly_worse_share", "share"] == pytest.approx(1 / 3)
    assert found["auto_mse_within_105_share", "share"] == pytest.approx(2 / 3)  # uniform is the better one of `bad`
    assert found["auto_for_scores_mse_within_105_share", "share"] == pytest.approx(2 / 3)
    assert found["median_mse_over_real_rows", "combined"] == pytest.approx(0.25, abs=0.05)
    assert found["with the ratio's error", "coverage"] == pytest.approx(0.9)
    assert found["nothing_is_right_share", "share"] == 1
    assert found["calibrated_mse_within_105_share", "share"] == 0
    assert found["auto_lower_mse_where_k_high_share", "share"] == 1
    assert found["interval_coverage", "share"] == pytest.approx(0.95)
    assert found["interval_coverage_few_rows", "share"] == pytest.approx(0.5)
    # of the two whose uniform error is more than noise: 1 − 0.1/1 and 1 − 0.5/0.2
    assert found["median_bias_reduction", "plain"] == pytest.approx((0.9 - 1.5) / 2, abs=0.05)


def test_holm() -> None:
    # 0.01/3 and 0.01/2 are passed, 0.01/1 is not
    assert holm([0.004, 0.5, 0.001], 0.01) == [True, False, True]
    assert holm([0.02, 0.5, 0.001], 0.01) == [False, False, True]
    assert holm([0.009, 0.009, 0.009], 0.01) == [False, False, False]


def test_estimators_compete_on_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []

    def default(real: np.ndarray, generated: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        seen.append(generated)
        return {"lfiw": np.exp(generated[:, 0]), "lfiw, plain ratio": np.ones(len(generated))}

    def kliep(real: np.ndarray, generated: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        assert np.array_equal(generated, seen[-1])
        raise RuntimeError("does not converge")

    monkeypatch.setattr(contest, "installed", lambda: [default, kliep])
    case = Case("unit shift", 1, Normals(1, [1.0]), Normals(1))  # log-ratio x − ½
    found = contest.compete(case, range(2, 5), 500)
    assert len(seen) == 3
    assert found.errors["lfiw"] == pytest.approx(found.errors["exact"])
    assert found.errors["lfiw, plain ratio"] == pytest.approx(found.errors["uniform"])
    # what failed counts as uniform weights, and is counted
    assert found.errors["skada KLIEP"] == found.errors["uniform"]
    assert found.failed == {"lfiw": 0, "lfiw, plain ratio": 0, "skada KLIEP": 3}
    rows = {(row["name"], row["metric"]): row["mean"] for row in contest.summarise([found])}
    expected = np.mean(found.errors["exact"]) / np.mean(found.errors["uniform"])
    assert rows["lfiw", "median_mse_over_uniform"] == pytest.approx(expected)
    assert rows["lfiw", "lowest_of_peers_share"] == 1
    assert rows["skada KLIEP", "failed"] == 3
    assert contest.shown(contest.summarise([found]))[0][:3] == ["lfiw", f"{expected:.3f}", "100%"]


def test_peers_weight_every_row() -> None:
    random = np.random.default_rng(0)
    real, generated = random.normal(size=(80, 2)) + 1, random.normal(size=(90, 2))
    for estimate in (peers.logistic_odds, peers.rulsif):
        (weights,) = estimate(real, generated, 0).values()
        assert weights.shape == (90,)
        assert np.average(generated[:, 0], weights=weights) > generated[:, 0].mean() + 0.2
