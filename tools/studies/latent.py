"""Better samples, not only better scores: unweighted sets that a ratio draws from an SNGAN, judged by two networks.

The ratio sees the features of ResNet-56, which judges too; EfficientNet-Lite0 is unseen. `sir` takes the best by weight
of T fresh candidates, `pcn` the last of T states of a chain in the latent space. Either scores T images per sample.
Caches, weights and overrides are those of `carry_over`, whose trained ratios are used.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from lfiw.data.batches import mix_seeds
from lfiw.data.splits import REAL
from lfiw.evaluation.plots import contact_sheet, save
from lfiw.features import Extractor
from lfiw.generators.generative_module import TrainedGenerator
from lfiw.generators.latent_sampling import LatentSampler
from lfiw.generators.protocol import candidates
from lfiw.metrics import frechet_distance, kernel_distance, weighted_moments
from lfiw.tasks.inputs import Scorer
from lfiw.weighting.streaming import PoolSampler, stream

from .carry_over import LABELLED, UNSEEN, read, scored_extractors, trained
from .kept import Kept
from .repeated import Found, Row, rows_of

WEIGHTS = Path(__file__).parents[2] / "weights" / "sngan" / "generator.safetensors"
NUM, SIDE_BY_SIDE = 1000, 250
POOLS = (4, 32)
STEPS = (0.3, 1.0)  # of the chains; 1 proposes afresh
UNIFORM = "as generated"
SHOWN = 64  # images of each set in the picture


def run(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Returns rows named `METHOD, T`."""
    found: Found = defaultdict(list)
    for seed in range(seeds):
        for name, metric, value in kept.get(
            f"seed {seed}", partial(outcome, seed, overrides, kept), settings=overrides
        ):
            found[name, metric].append(value)
    shown = {name: torch.load(file, weights_only=True) for name, file in pictures(kept).items()}
    return rows_of(found), [save(contact_sheet(shown, columns=2), Path(kept.folder).with_name("sets.png"))]


def pictures(kept: Kept) -> dict[str, Path]:
    """Returns the file of each set that the picture shows, of seed 0."""
    names = (UNIFORM, f"pcn by {STEPS[0]:g}, {POOLS[-1]}")
    return {name: Path(kept.folder).with_name(f"latent_{i}.pt") for i, name in enumerate(names)}


def outcome(seed: int, overrides: Sequence[str], kept: Kept) -> list[list[Any]]:
    """Draws all sets by one seed's ratio; returns (set, metric, value)."""
    folder = trained("SNGAN", (LABELLED,), seed, overrides)
    datamodule = read(folder).datamodule
    extractors = scored_extractors(folder, overrides, datamodule)
    real = {
        network: datamodule.splits["evaluation"][REAL].column(extractors[network].columns["features"])
        for network in (LABELLED, UNSEEN)
    }
    generator, scorer = TrainedGenerator(WEIGHTS), Scorer(folder)
    values: list[list[Any]] = []
    for name, images, accepted in sets(generator, scorer, seed):
        features = {network: features_of(extractors[network], images) for network in real}
        of_set = {"log_ratio": scorer({"image": images}).mean().item(), "accepted": accepted, **scores(real, features)}
        values += [[name, metric, value] for metric, value in of_set.items()]
        if seed == 0 and name in pictures(kept):
            Path(kept.folder).parent.mkdir(parents=True, exist_ok=True)
            torch.save(images[:SHOWN].clone(), pictures(kept)[name])
    return values


def sets(
    generator: TrainedGenerator, scorer: Scorer, seed: int
) -> Iterator[tuple[str, UInt8[Tensor, "n c h w"], float]]:
    """Yields the sets' names, images, and share of the scored images that were taken."""
    draws = torch.Generator().manual_seed(mix_seeds(seed, 0))
    yield UNIFORM, generator.sample(NUM, draws)["image"], 1.0
    for pool in POOLS:
        sampler, fresh = PoolSampler(pool, draws), torch.Generator().manual_seed(mix_seeds(seed, pool))
        blocks = stream(candidates(generator, SIDE_BY_SIDE, fresh), scorer, sampler, NUM)
        yield f"sir, {pool}", torch.cat([b["image"] for b in blocks]), sampler.accepted / sampler.candidates
        for step in STEPS:
            moves = torch.Generator().manual_seed(mix_seeds(seed, pool, 1))
            chains = LatentSampler(generator.module, scorer, pool, step, moves)
            images = torch.cat([b["image"] for b in chains.draw(NUM, SIDE_BY_SIDE)])
            yield f"pcn by {step:g}, {pool}", images, chains.accepted / chains.candidates


@torch.inference_mode()
def features_of(extractor: Extractor, images: UInt8[Tensor, "n c h w"]) -> Tensor:
    size = extractor.batch_size or SIDE_BY_SIDE
    return torch.cat([extractor(part)["features"] for part in images.split(size)])


def scores(real: Mapping[str, Tensor], features: Mapping[str, Tensor]) -> dict[str, float]:
    """Returns FID and KID by each network; the FID of all sets has the bias of the same number of samples."""
    found = {}
    for network, of_set in features.items():
        distance = frechet_distance(*weighted_moments(real[network]), *weighted_moments(of_set))
        found[f"fid@{network}"] = distance.item()
        found[f"kid@{network}"] = kernel_distance(real[network], of_set).item()
    return found
