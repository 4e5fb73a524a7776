"""One device: its own speed at matrix products and copies, then extraction, training and sampling there."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from pytorch_lightning import Callback
from torch import Tensor

from lfiw.data import CacheWriter, SampleCache, TensorTable
from lfiw.data.batches import MixedBatches, TrainingLoader
from lfiw.data.splits import MixedRows, everything
from lfiw.features.extraction import extract
from lfiw.features.inception import InceptionFeatures
from lfiw.generators.generative_module import build_generative
from lfiw.ratio.classifier import RatioClassifier
from lfiw.ratio.mixed import MixedDataModule
from lfiw.schemas import MLP, SNGAN, Optimizer, PixelCNN, ResNet, Trainer
from lfiw.tasks.results import row
from lfiw.training.trainer import build_trainer, exact_float32, fit

from .measure import FLOPS, IMAGE, Row, drain, images

FEATURES, BATCH = 2048, 256


@dataclass(frozen=True)
class Sizes:
    """How much work is timed.

    Args:
        side: of the square matrices that are multiplied.
        copied: bytes that are copied at once.
        images: per extraction step; cached: images that are extracted from and into a cache.
        rows: per side of the ratio's training; wide: the networks, otherwise tiny ones.
        drawn: samples per call of a generator.
        rounds: repetitions after the warm-up.
    """

    side: int = 8192
    copied: int = 1 << 28
    images: int = 256
    cached: int = 20_000
    rows: int = 50_000
    drawn: int = 256
    rounds: int = 5
    wide: bool = True


SMOKE = Sizes(side=64, copied=1 << 16, images=1, cached=2, rows=300, drawn=1, rounds=1, wide=False)


def measured(device: torch.device, sizes: Sizes) -> Iterator[Row]:
    """Yields the rows, the device's own speed first; `share` is that of the matrix products in the same precision."""
    exact_float32()
    limits = {}
    for found in matrix_products(device, sizes):
        limits[found["name"].removeprefix("matmul_")] = found["mean"] * 1e12
        yield found
    yield from copies(device, sizes)
    yield from extraction(device, sizes, limits)
    yield loading(device, sizes)
    yield from training(device, sizes)
    yield from sampling(device, sizes)


def rates(
    work: Callable[[], object], units: float, device: torch.device, rounds: int, warm_ups: int = 2
) -> list[float]:
    """Units of work per second, round by round, until the device has done them."""
    found = []
    for i in range(warm_ups + rounds):
        wait_for(device)
        start = time.perf_counter()
        work()
        wait_for(device)
        if i >= warm_ups:
            found.append(units / (time.perf_counter() - start))
    return found


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_products(device: torch.device, sizes: Sizes) -> Iterator[Row]:
    kinds = {"fp32": (torch.float32, "highest"), "tf32": (torch.float32, "high"), "bf16": (torch.bfloat16, "highest")}
    for name, (dtype, precision) in kinds.items():
        torch.set_float32_matmul_precision(precision)
        a = torch.rand(sizes.side, sizes.side, device=device).to(dtype)
        out = torch.empty_like(a)
        found = rates(partial(torch.mm, a, a, out=out), 2 * sizes.side**3 / 1e12, device, sizes.rounds)
        torch.set_float32_matmul_precision("highest")
        yield row(f"matmul_{name}", "TFLOP/s", found)


def copies(device: torch.device, sizes: Sizes) -> Iterator[Row]:
    """Between pinned memory and the device."""
    host = torch.zeros(sizes.copied, dtype=torch.uint8, pin_memory=device.type == "cuda")
    there = torch.empty_like(host, device=device)
    for name, source, target in (("host_to_device", host, there), ("device_to_host", there, host)):
        copy = partial(target.copy_, source, non_blocking=True)
        found = rates(copy, sizes.copied / 1e9, device, sizes.rounds)
        yield row(name, "GB/s", found)


def extraction(device: torch.device, sizes: Sizes, limits: dict[str, float]) -> Iterator[Row]:
    """Inception's forward pass on images that are on the device; and from a cache into it, in bfloat16."""
    batch = images(sizes.images).to(device)
    for precision in ("fp32", "bf16"):
        extractor = InceptionFeatures(IMAGE, precision=precision).eval().to(device)
        with torch.inference_mode():
            # compiling takes a minute
            for compiled in (False, True) if sizes.wide and precision == "bf16" else (False,):
                if compiled:
                    extractor.net.compile()
                found = rates(partial(extractor, batch), len(batch), device, sizes.rounds)
                name = f"inception_{precision}{'_compiled' if compiled else ''}"
                yield with_share(row(name, "images/s", found), limits[precision])
    with TemporaryDirectory() as folder:
        with CacheWriter(Path(folder) / "images") as writer:
            writer.write({"image": images(sizes.cached)})
        cache = SampleCache(Path(folder) / "images")
        trainer = build_trainer(trainer_options(device), Path(folder), [])
        extractor = InceptionFeatures(IMAGE, precision="bf16").eval()
        start = time.perf_counter()
        extract(trainer, extractor, [cache], "image", batch_size=1000, num_workers=0)
        found = [sizes.cached / (time.perf_counter() - start)]
    yield with_share(row("inception_bf16_from_cache_to_cache", "images/s", found), limits["bf16"])


def with_share(found: Row, limit: float) -> Row:
    return {**found, "share": found["mean"] * FLOPS / limit}


def trainer_options(device: torch.device, **options: Any) -> Trainer:
    return Trainer(accelerator="gpu" if device.type == "cuda" else "cpu", progress=False, **options)


def loading(device: torch.device, sizes: Sizes) -> Row:
    """Batches of images, cropped and mirrored on the CPU and, on a GPU, copied there ahead."""
    sides = [everything(TensorTable({"image": images(sizes.rows)})) for _ in range(2)]
    batches = MixedBatches(sizes.rows, sizes.rows, batch_size=BATCH, mixing="balanced", seed=0)
    gpu = device if device.type == "cuda" else None
    loader = TrainingLoader(MixedRows(sides, ["image"], "crop_flip"), batches, pin_memory=gpu is not None, gpu=gpu)
    return row("loader", "images/s", rates(lambda: drain(loader), len(batches) * BATCH, device, sizes.rounds, 1))


def training(device: torch.device, sizes: Sizes) -> Iterator[Row]:
    """The ratio's classifiers, with their rows on the device and read in each step."""

    def features(seed: int) -> Tensor:
        return torch.randn(sizes.rows, FEATURES, generator=torch.Generator().manual_seed(seed))

    def pixels(seed: int) -> Tensor:
        return images(sizes.rows, generator=torch.Generator().manual_seed(seed))

    tables = [TensorTable({"features": features(seed), "image": pixels(seed)}) for seed in range(2)]
    mlp, resnet = (MLP(width=512, dropout=0.5), ResNet()) if sizes.wide else (MLP(width=8), ResNet(width=8, stages=1))
    cases: list[tuple[str, MLP | ResNet, str, str]] = [
        ("mlp", mlp, "features", "32-true"),
        ("resnet", resnet, "image", "32-true"),
        ("resnet_bf16", resnet, "image", "bf16-mixed"),
    ]
    for name, net, column, precision in cases:
        for resident in (True, False):
            augment = "crop_flip" if column == "image" else "none"
            fractions = {"train": 0.98, "validation": 0.02, "evaluation": 0.0}
            data = MixedDataModule(
                *tables, input=column, batch_size=BATCH, fractions=fractions, augment=augment, device_resident=resident
            )
            found = steps_per_second(RatioClassifier(asdict(net), asdict(Optimizer())), data, device, precision)
            yield row(f"ratio_{name}_{'resident' if resident else 'read'}", "steps/s", found)


def steps_per_second(
    classifier: RatioClassifier, data: MixedDataModule, device: torch.device, precision: str
) -> list[float]:
    """Of the epochs after the first, without their validation."""
    clock = StepClock(device)
    options = trainer_options(device, max_epochs=3, precision=precision)
    fit(build_trainer(options, None, [], callbacks=[clock]), classifier, data)
    return clock.rates[1:]


class StepClock(Callback):
    """Notes the steps per second of each epoch, from the end of its first step to that of its last."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.rates = device, list[float]()
        self._start = 0.0

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            wait_for(self.device)
            self._start = time.perf_counter()
        elif trainer.is_last_batch:
            wait_for(self.device)
            self.rates.append(batch_idx / (time.perf_counter() - self._start))


def sampling(device: torch.device, sizes: Sizes) -> Iterator[Row]:
    """As tools/cache_samples.py draws, each sample from its own seed."""
    nets = (PixelCNN(), SNGAN()) if sizes.wide else (PixelCNN(width=4, blocks=1, levels=1), SNGAN(width=8))
    for net in nets:
        module = build_generative(asdict(net), IMAGE, asdict(Optimizer()), 0).to(device)
        generators = [torch.Generator().manual_seed(seed) for seed in range(sizes.drawn)]
        draw = partial(module.sample_each, generators)
        found = rates(draw, sizes.drawn, device, min(sizes.rounds, 3), warm_ups=1)
        yield row(f"{net.name}_sampling", "samples/s", found)
