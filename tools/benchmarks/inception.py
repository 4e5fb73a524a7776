"""Inception's features of 32×32 images against torch-fidelity's extractor: the same weights, the same images."""

import statistics
import warnings
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from lfiw.features.inception import CPU_IMAGES, InceptionFeatures
from lfiw.features.inception_weights import BATCH_NORM, EPSILON, convolutions, find_weights
from lfiw.nets.inception import NUM_FEATURES, NUM_LOGITS

from .measure import Row, compare, fastest, interleave, seconds_each

GOALS = {"fp32": 1.3, "bf16": 3.0}
FLOPS = 11.4e9  # of one image: 5.7 billion multiplications and additions
SHAPE = (3, 32, 32)
PEER_BATCHES = (4, 8, 16, 50)  # torch-fidelity's is 64 unless told; the peer is compared at its best


def run(rounds: int, num_images: int = 48) -> list[Row]:
    """One row a precision; the limit is the fastest convolution of the network, alone."""
    images = pictures(num_images)
    peer = torch_fidelity()
    batch = best_batch(peer, images)
    rows = []
    for precision, goal in GOALS.items():
        ours = InceptionFeatures(SHAPE, precision=precision).eval()
        sides = {
            "ours": seconds_each(partial(extract, ours, images), num_images),
            "peer": seconds_each(partial(peer_features, peer, images, batch), num_images),
        }
        seconds = interleave(sides, rounds)
        reached = FLOPS / statistics.median(seconds["ours"])
        rows.append(
            compare(
                f"inception_{precision}",
                f"torch-fidelity's extractor, float32, batches of {batch}",
                seconds["ours"],
                seconds["peer"],
                unit="images/s",
                goal=goal,
                limit={
                    "what": f"one 3×3 convolution, {precision}; {FLOPS / 1e9:.1f} GFLOP an image",
                    "share": reached / convolution_flops(torch.bfloat16 if precision == "bf16" else torch.float32),
                },
                note=f"{num_images} images of 3×32×32, resize included",
            )
        )
    return rows


def best_batch(peer: FeatureExtractorInceptionV3, images: Tensor) -> int:
    """The batch size at which the peer is fastest."""
    batches = {str(size): seconds_each(partial(peer_features, peer, images, size)) for size in PEER_BATCHES}
    return int(fastest(batches, tries=1))


def pictures(n: int) -> Tensor:
    return torch.randint(0, 256, (n, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def extract(extractor: InceptionFeatures, images: Tensor) -> Tensor:
    return extractor(images)["features"]


@torch.inference_mode()
def peer_features(peer: FeatureExtractorInceptionV3, images: Tensor, batch: int) -> Tensor:
    return torch.cat([peer(block)[0] for block in images.split(batch)])


def torch_fidelity() -> FeatureExtractorInceptionV3:
    """The peer with our weights: batch norms that do nothing but add the folded bias, and any head."""
    folded = find_weights().tensors
    state = {"fc.weight": torch.zeros(NUM_LOGITS, NUM_FEATURES), "fc.bias": torch.zeros(NUM_LOGITS)}
    for name in convolutions():
        bias = folded[f"{name}.bias"]
        values = (folded[f"{name}.weight"], torch.ones_like(bias), bias, 0 * bias, torch.full_like(bias, 1 - EPSILON))
        state |= {f"{name}.{part}": value for part, value in zip(BATCH_NORM, values, strict=True)}
        state[f"{name}.bn.num_batches_tracked"] = torch.tensor(0)
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(state, Path(folder) / "weights.pth")
        return FeatureExtractorInceptionV3(
            "", ["2048"], feature_extractor_weights_path=str(Path(folder) / "weights.pth")
        )


@torch.inference_mode()
def convolution_flops(dtype: torch.dtype, channels: int = 192, size: int = 35) -> float:
    """Floating-point operations a second of a 3×3 convolution whose data stay in the caches."""
    layer = torch.nn.Conv2d(channels, channels, 3, padding=1).to(dtype).to(memory_format=torch.channels_last)
    x = torch.rand(CPU_IMAGES, channels, size, size).to(dtype).to(memory_format=torch.channels_last)
    layer(x)
    return 2 * 9 * channels**2 * size**2 * CPU_IMAGES / min(seconds_each(lambda: layer(x))() for _ in range(7))
