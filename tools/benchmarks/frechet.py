"""The Fréchet distance: from moments, and from fewer samples than dimensions."""

import statistics
import warnings

import torch
from cleanfid.fid import frechet_distance as cleanfid_distance
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from lfiw.metrics import frechet_distance, frechet_distance_from_features, weighted_moments

from .measure import Row, compare, interleave, matmul_flops, seconds_each

GOAL_TORCHMETRICS, GOAL_CLEANFID, GOAL_FEW = 2.4, 10.0, 30.0
SLOW_ROUNDS = 3  # of a peer that takes a quarter of a minute
# d³ × (Cholesky ⅓, a product 2, half of a symmetric product 1, eigenvalues of a symmetric matrix 4/3)
FLOPS_OF_CUBE = 1 / 3 + 2 + 1 + 4 / 3


class GivenFeatures(nn.Identity):
    """Torchmetrics' feature extractor for features that are there already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def run_from_moments(rounds: int, n: int = 5000, d: int = 2048) -> list[Row]:
    """`frechet_distance` against torchmetrics' `compute` and clean-fid, the moments being known."""
    real, generated = features(n, d, seed=0), features(n, d, seed=1)
    moments = *weighted_moments(real), *weighted_moments(generated)
    peer = torchmetrics_fid(d)
    update(peer, real, generated)
    ours = seconds_each(lambda: frechet_distance(*moments))
    torchmetrics_seconds = interleave({"ours": ours, "peer": seconds_each(peer.compute)}, rounds)
    cleanfid = seconds_each(lambda: cleanfid_fid(moments))
    cleanfid_seconds = interleave({"ours": ours, "peer": cleanfid}, min(rounds, SLOW_ROUNDS), warm_ups=0)
    limit = {
        "what": f"a float64 matrix product; {FLOPS_OF_CUBE:.2f}·d³ operations",
        "share": FLOPS_OF_CUBE * d**3 / statistics.median(torchmetrics_seconds["ours"]) / matmul_flops(d),
    }
    note = f"moments of {n:,} samples, {d} dimensions, float64"
    return [
        compare(
            f"frechet_{d}",
            "torchmetrics, compute of FrechetInceptionDistance",
            torchmetrics_seconds["ours"],
            torchmetrics_seconds["peer"],
            unit="s",
            goal=GOAL_TORCHMETRICS,
            limit=limit,
            note=note,
        ),
        compare(
            f"frechet_{d}_clean_fid",
            "clean-fid, frechet_distance",
            cleanfid_seconds["ours"],
            cleanfid_seconds["peer"],
            unit="s",
            goal=GOAL_CLEANFID,
            note=note,
        ),
    ]


def run_few_samples(rounds: int, n: int = 500, d: int = 2048) -> list[Row]:
    """From features to the distance, moments included on both sides."""
    real, generated = features(n, d, seed=0), features(n, d, seed=1)
    peer = torchmetrics_fid(d)

    def from_features() -> Tensor:
        peer.reset()
        update(peer, real, generated)
        return peer.compute()

    sides = {
        "ours": seconds_each(lambda: frechet_distance_from_features(real, generated)),
        "peer": seconds_each(from_features),
    }
    seconds = interleave(sides, rounds)
    # products n² × d, and singular values of n × n without vectors: 8/3 n³
    flops = 2 * n * n * d + 8 / 3 * n**3
    limit = {
        "what": "a float64 matrix product; 2n²d + 8/3·n³ operations",
        "share": flops / statistics.median(seconds["ours"]) / matmul_flops(d),
    }
    return [
        compare(
            "frechet_few_samples",
            "torchmetrics, update and compute of FrechetInceptionDistance",
            seconds["ours"],
            seconds["peer"],
            unit="ms",
            goal=GOAL_FEW,
            limit=limit,
            note=f"{n:,} samples a side, {d} dimensions, float32 features",
        )
    ]


def features(n: int, d: int, seed: int) -> Tensor:
    """float32 features whose variances fall as a power, as a network's do, in a random basis of pairs of axes."""
    generator = torch.Generator().manual_seed(seed)
    scales = torch.arange(1, d + 1).pow(-0.5)
    rows = torch.randn(n, d, generator=generator) * scales + 0.01 * seed
    return (rows + rows.roll(1, dims=1)) / 2**0.5  # neighbours are correlated


def torchmetrics_fid(d: int) -> FrechetInceptionDistance:
    return FrechetInceptionDistance(feature=GivenFeatures(d), compute_with_cache=False)


def update(metric: FrechetInceptionDistance, real: Tensor, generated: Tensor) -> None:
    metric.update(real, real=True)
    metric.update(generated, real=False)


def cleanfid_fid(moments: tuple[Tensor, Tensor, Tensor, Tensor]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # clean-fid's use of SciPy
        return float(cleanfid_distance(*(moment.numpy() for moment in moments)))
