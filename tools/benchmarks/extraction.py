"""Inception features against torch-fidelity's extractor, and how much time cached features save."""

import warnings
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from lfiw.data import TensorTable
from lfiw.features.inception import BATCH_NORM, CPU_IMAGES, EPSILON, InceptionFeatures, convolutions, find_weights
from lfiw.features.inception_network import NUM_FEATURES, NUM_LOGITS
from lfiw.metrics import inception_score, kernel_distance
from lfiw.metrics.frechet import FrechetReference
from lfiw.ratio.classifier import RatioClassifier
from lfiw.ratio.mixed import MixedDataModule
from lfiw.schemas import MLP, Optimizer

from .measure import FLOPS, IMAGE, Row, Side, compare, fastest, images, interleave, race, seconds_each
from .training_steps import alternate

GOALS = {"fp32": (torch.float32, 1.3), "bf16": (torch.bfloat16, 3.0)}
PEER_BATCHES = (4, 8, 16, 50)  # torch-fidelity's default is 64; the peer is compared at its best
GOAL_KEPT = 100.0
MORE = 4  # weightings after the first
NUM_CLASSES = 10
SAMPLE = 32  # images on which the peer's extractor is timed when the time of many is extrapolated


def run_inception(rounds: int, num_images: int = 48) -> list[Row]:
    """Times one extractor per precision, all with the same weights; the limit is the network's fastest convolution."""
    data, peer = images(num_images), torch_fidelity()
    batch = best_batch(peer, data)
    rows = []
    for precision, (dtype, goal) in GOALS.items():
        ours = InceptionFeatures(IMAGE, precision=precision).eval()
        limit = f"one 3×3 convolution, {precision}; {FLOPS / 1e9:.1f} GFLOP per image"
        found = race(
            f"inception_{precision}",
            f"torch-fidelity's extractor, float32, batches of {batch}",
            seconds_each(partial(extract, ours, data), num_images),
            seconds_each(partial(peer_features, peer, data, batch), num_images),
            rounds,
            unit="images/s",
            goal=goal,
            limit=(limit, FLOPS / convolution_flops(dtype)),
            note=f"{num_images} images of 3×32×32, resize included",
        )
        rows.append(found)
    return rows


def best_batch(peer: FeatureExtractorInceptionV3, data: Tensor) -> int:
    """Returns the batch size at which the peer is fastest."""
    batches = {str(size): seconds_each(partial(peer_features, peer, data, size)) for size in PEER_BATCHES}
    return int(fastest(batches, tries=1))


@torch.inference_mode()
def extract(extractor: InceptionFeatures, data: Tensor) -> Tensor:
    return extractor(data)["features"]


@torch.inference_mode()
def peer_features(peer: FeatureExtractorInceptionV3, data: Tensor, batch: int) -> Tensor:
    return torch.cat([peer(block)[0] for block in data.split(batch)])


def torch_fidelity() -> FeatureExtractorInceptionV3:
    """Builds the peer with our weights: its batch norms only add the folded bias, and its head is arbitrary."""
    folded = find_weights().tensors
    state = {"fc.weight": torch.zeros(NUM_LOGITS, NUM_FEATURES), "fc.bias": torch.zeros(NUM_LOGITS)}
    for name in convolutions():
        bias = folded[f"{name}.bias"]
        values = (folded[f"{name}.weight"], torch.ones_like(bias), bias, 0 * bias, torch.full_like(bias, 1 - EPSILON))
        state |= {f"{name}.{part}": value for part, value in zip(BATCH_NORM, values, strict=True)}
        state[f"{name}.bn.num_batches_tracked"] = torch.tensor(0)
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = str(Path(folder) / "weights.pth")
        torch.save(state, file)
        return FeatureExtractorInceptionV3("", ["2048"], feature_extractor_weights_path=file)


@torch.inference_mode()
def convolution_flops(dtype: torch.dtype, channels: int = 192, size: int = 35) -> float:
    """Measures the floating-point operations per second of a 3×3 convolution whose data fit the CPU caches."""
    layer = torch.nn.Conv2d(channels, channels, 3, padding=1).to(dtype).to(memory_format=torch.channels_last)
    x = torch.rand(CPU_IMAGES, channels, size, size).to(dtype).to(memory_format=torch.channels_last)
    layer(x)
    return 2 * 9 * channels**2 * size**2 * CPU_IMAGES / min(seconds_each(lambda: layer(x))() for _ in range(7))


def run_weighting(rounds: int, n: int = 10_000) -> list[Row]:
    """Times FID, KID and IS of n generated against n real rows: the first weighting, and each further one."""
    real, generated = features(n, 0), features(n, 1)
    g = torch.Generator().manual_seed(2)
    probabilities = torch.rand(n, NUM_CLASSES, dtype=torch.float64, generator=g).softmax(1)
    weights = torch.rand(n, 1 + MORE, dtype=torch.float64, generator=g)

    def score(num: int) -> None:
        reference = FrechetReference(real)
        for column in range(num):
            reference.distance(generated, weights[:, column])
        kernel_distance(real, generated, generated_weights=weights[:, :num])
        inception_score(probabilities, weights[:, :num])

    first, all_of_them = (seconds_each(partial(score, num)) for num in (1, 1 + MORE))
    seconds = interleave({"first": first, "all": all_of_them, "peer": from_images(2 * n)}, rounds, warm_ups=0)
    more = [(a - f) / MORE for a, f in zip(seconds["all"], seconds["first"], strict=True)]
    note = (
        f"FID, KID and IS of {n:,} generated against {n:,} real rows; the peer's time is for extraction alone, "
        f"that of {SAMPLE} images times {2 * n // SAMPLE:,}; it halves if the real features are known"
    )
    adds = f"the cost of each further weighting, measured with {MORE} more in one call; {note}"
    peer = "torch-fidelity's extractor on the images"
    return [
        compare("score_10k", peer, seconds["first"], seconds["peer"], unit="s", goal=None, note=note),
        compare("reweight_10k", peer, more, seconds["peer"], unit="s", goal=GOAL_KEPT, note=adds),
    ]


def run_epoch(rounds: int, n: int = 50_000) -> list[Row]:
    """Times an epoch of the MLP on n + n rows of cached features against a frozen Inception over as many images."""
    tables = [TensorTable({"features": features(n + 1000, seed)}) for seed in (0, 1)]
    fractions = {"train": n / (n + 1000), "validation": 1000 / (n + 1000), "evaluation": 0.0}
    datamodule = MixedDataModule(*tables, input="features", fractions=fractions)
    classifier = RatioClassifier(asdict(MLP(width=512, dropout=0.5)), asdict(Optimizer()))
    again = from_images(2 * n)
    epochs = alternate(classifier, datamodule, rounds, peer=lambda _: again())
    peer = "a frozen Inception's forward pass in every epoch (torch-fidelity's extractor)"
    note = (
        f"{n:,} + {n:,} rows, MLP 2 × 512 on {NUM_FEATURES} features; the peer's time is that of {SAMPLE} "
        f"images times {2 * n // SAMPLE:,}, without a head to train"
    )
    return [compare("ratio_epoch", peer, epochs.ours, epochs.theirs, unit="s", goal=GOAL_KEPT, note=note)]


def from_images(num_images: int) -> Side:
    """Times the peer's extractor on a few images → the seconds that `num_images` would take."""
    peer, data = torch_fidelity(), images(SAMPLE)
    batch = best_batch(peer, data)
    extract = seconds_each(lambda: peer_features(peer, data, batch), SAMPLE)
    extract()
    return lambda: extract() * num_images


def features(n: int, seed: int) -> Tensor:
    """Draws features of which half are zero; Inception's are mostly near zero."""
    return torch.randn(n, NUM_FEATURES, generator=torch.Generator().manual_seed(seed)).relu_()
