"""The Fréchet distance, its standard error, precision and recall, all from features that are already in memory."""

import warnings

import torch
from cleanfid.fid import frechet_distance as cleanfid_distance
from torch import Tensor, nn
from torch_fidelity.metric_prc import prc_features_to_metric
from torchmetrics.image.fid import FrechetInceptionDistance

from lfiw.metrics import frechet_distance, frechet_distance_from_features, precision_recall, weighted_moments
from lfiw.metrics.influence import frechet_contributions

from .measure import Row, compare, interleave, matmul_flops, race, seconds_each

GOAL_TORCHMETRICS, GOAL_CLEANFID, GOAL_FEW = 2.4, 10.0, 30.0
SLOW_ROUNDS = 3  # for a side that takes 15 s or more
# d³ × (Cholesky ⅓, a product 2, half of a symmetric product 1, eigenvalues of a symmetric matrix 4/3)
FLOPS_OF_CUBE = 1 / 3 + 2 + 1 + 4 / 3
RESAMPLES = 200  # that a bootstrap needs for a usable interval
GOAL_INTERVAL, INTERVAL_SECONDS = 100.0, 3.0  # at 10,000 rows of 2,048 features
NEIGHBOURS_SECONDS = 30.0


class GivenFeatures(nn.Identity):
    """Stands in for torchmetrics' feature extractor: returns the given features."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def run_from_moments(rounds: int, n: int = 5000, d: int = 2048) -> list[Row]:
    """Times `frechet_distance` against torchmetrics' `compute` and clean-fid, from known moments."""
    real, generated = both_sides(n, d)
    moments = *weighted_moments(real), *weighted_moments(generated)
    peer = torchmetrics_fid(d)
    update(peer, real, generated)
    ours = seconds_each(lambda: frechet_distance(*moments))
    note = f"moments of {n:,} samples, {d} dimensions, float64"
    return [
        race(
            f"frechet_{d}",
            "torchmetrics, compute of FrechetInceptionDistance",
            ours,
            seconds_each(peer.compute),
            rounds,
            unit="s",
            goal=GOAL_TORCHMETRICS,
            limit=at_matmul(f"{FLOPS_OF_CUBE:.2f}·d³", FLOPS_OF_CUBE * d**3, d),
            note=note,
        ),
        race(
            f"frechet_{d}_clean_fid",
            "clean-fid, frechet_distance",
            ours,
            seconds_each(lambda: cleanfid_fid(moments)),
            min(rounds, SLOW_ROUNDS),
            warm_ups=0,
            unit="s",
            goal=GOAL_CLEANFID,
            note=note,
        ),
    ]


def run_few_samples(rounds: int, n: int = 500, d: int = 2048) -> list[Row]:
    """Times the distance from features, moments included on both sides."""
    real, generated = both_sides(n, d)
    peer = torchmetrics_fid(d)

    def from_features() -> Tensor:
        peer.reset()
        update(peer, real, generated)
        return peer.compute()

    return [
        race(
            "frechet_few_samples",
            "torchmetrics, update and compute of FrechetInceptionDistance",
            seconds_each(lambda: frechet_distance_from_features(real, generated)),
            seconds_each(from_features),
            rounds,
            unit="ms",
            goal=GOAL_FEW,
            # products n² × d, and singular values of n × n without vectors: 8/3 n³
            limit=at_matmul("2n²d + 8/3·n³", 2 * n * n * d + 8 / 3 * n**3, d),
            note=f"{n:,} samples per side, {d} dimensions, float32 features",
        )
    ]


def run_interval(rounds: int, n: int = 10_000, d: int = 2048) -> list[Row]:
    """Times the standard error of a weighted score, beyond the score itself, against a bootstrap of the score."""
    real, generated = both_sides(n, d)
    weights = torch.rand(n, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    score = seconds_each(lambda: frechet_distance_from_features(real, generated, generated_weights=weights[:, 0]))
    contributions = seconds_each(lambda: frechet_contributions(real, generated, weights).standard_errors())
    seconds = interleave({"score": score, "contributions": contributions, "peer": score}, rounds, warm_ups=0)
    beyond = [max(c - s, 1e-9) for c, s in zip(seconds["contributions"], seconds["score"], strict=True)]
    note = f"seconds beyond the score, {n:,} rows per side, {d} dimensions; goal also {INTERVAL_SECONDS:g} s; "
    return [
        compare(
            "frechet_interval",
            f"a bootstrap of {RESAMPLES} resamples",
            beyond,
            [RESAMPLES * s for s in seconds["peer"]],
            unit="s",
            goal=GOAL_INTERVAL,
            at_most=INTERVAL_SECONDS,
            note=f"{note}the peer's time is that of one score times {RESAMPLES}",
        )
    ]


def run_neighbours(rounds: int, n: int = 10_000, d: int = 2048) -> list[Row]:
    """Times `precision_recall`, which also gives density and coverage, against torch-fidelity's two scores."""
    real, generated = both_sides(n, d)
    options = {"prc_neighborhood": 3, "prc_batch_size": n, "save_cpu_ram": False, "verbose": False}
    return [
        race(
            "precision_recall",
            "torch-fidelity, precision and recall",
            seconds_each(lambda: precision_recall(real, generated)),
            seconds_each(lambda: prc_features_to_metric(generated, real, **options)),
            min(rounds, SLOW_ROUNDS),
            warm_ups=0,
            unit="s",
            goal=1.0,
            at_most=NEIGHBOURS_SECONDS,
            note=f"{n:,} samples per side, {d} dimensions, float32; goal also {NEIGHBOURS_SECONDS:g} s",
        )
    ]


def both_sides(n: int, d: int) -> tuple[Tensor, Tensor]:
    return features(n, d, seed=0), features(n, d, seed=1)


def features(n: int, d: int, seed: int) -> Tensor:
    """Draws float32 features whose variances fall by a power law, as a network's do; neighbours are correlated."""
    generator = torch.Generator().manual_seed(seed)
    scales = torch.arange(1, d + 1).pow(-0.5)
    rows = torch.randn(n, d, generator=generator) * scales + 0.01 * seed
    return (rows + rows.roll(1, dims=1)) / 2**0.5


def at_matmul(formula: str, operations: float, d: int) -> tuple[str, float]:
    """Returns the limit: the time that the operations would take at the speed of a matrix product."""
    return f"a float64 matrix product; {formula} operations", operations / matmul_flops(d)


def torchmetrics_fid(d: int) -> FrechetInceptionDistance:
    return FrechetInceptionDistance(feature=GivenFeatures(d), compute_with_cache=False)


def update(metric: FrechetInceptionDistance, real: Tensor, generated: Tensor) -> None:
    metric.update(real, real=True)
    metric.update(generated, real=False)


def cleanfid_fid(moments: tuple[Tensor, Tensor, Tensor, Tensor]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from clean-fid's call of SciPy
        return float(cleanfid_distance(*(moment.numpy() for moment in moments)))
