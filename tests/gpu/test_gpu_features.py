"""Features on a GPU: those of the CPU, however they were written into a cache."""

from pathlib import Path
from typing import Any

import pytest
import torch
from devices import ACCELERATORS, DEVICES
from torch import Tensor

from lfiw.data import CacheWriter, SampleCache
from lfiw.features import extraction
from lfiw.features.extraction import Computed, extract
from lfiw.features.extractor import Extractor
from lfiw.features.hog import OrientedGradients
from lfiw.features.inception import InceptionFeatures
from lfiw.schemas import Trainer
from lfiw.training.trainer import build_trainer, exact_float32

SHAPE = (3, 32, 32)


def images(num: int, seed: int = 0) -> Tensor:
    return torch.randint(256, (num, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def features(extractor: Extractor, device: str, batch: Tensor) -> Tensor:
    return extractor.to(device)(batch.to(device))["features"].cpu()


def difference(found: Tensor, expected: Tensor) -> float:
    """‖found − expected‖/‖expected‖."""
    return ((found.double() - expected.double()).norm() / expected.double().norm()).item()


@pytest.mark.parametrize("device", DEVICES)
def test_float32_is_float32(device: str) -> None:
    """TF32's 10 bits would differ by 1e-4 and more."""
    exact_float32()
    batch, extractor = images(8), InceptionFeatures(SHAPE).eval()
    expected = features(extractor, "cpu", batch)
    assert difference(features(extractor, device, batch), expected) < 1e-5
    hog = OrientedGradients(SHAPE)
    assert difference(features(hog, device, batch), features(hog, "cpu", batch)) < 1e-5


@pytest.mark.parametrize("device", DEVICES)
def test_bfloat16_rounds_no_more_than_on_the_cpu(device: str) -> None:
    batch = images(8)
    exact = features(InceptionFeatures(SHAPE).eval(), "cpu", batch)
    half = InceptionFeatures(SHAPE, precision="bf16").eval()
    on_cpu, found = (difference(features(half, place, batch), exact) for place in ("cpu", device))
    assert found < 1.5 * on_cpu < 0.05


class Means(Extractor):
    """The mean of each channel: as quick as an extractor can be."""

    name, num_features, batch_size = "means", 3, 4

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        self.sizes.append(len(images))
        return {"features": images.float().mean((2, 3))}


def caches(folder: Path) -> list[SampleCache]:
    for name, num in (("first", 23), ("second", 9)):
        with CacheWriter(folder / name) as writer:
            writer.write({"image": images(num, num)})
    return [SampleCache(folder / name) for name in ("first", "second")]


def run(tables: list[SampleCache], device: str, extractor: Extractor, folder: Path) -> None:
    trainer = build_trainer(Trainer(accelerator=ACCELERATORS[device], progress=False), folder, [])
    extract(trainer, extractor, tables, "image", batch_size=8, num_workers=0)


def check(tables: list[SampleCache]) -> None:
    for table in tables:
        torch.testing.assert_close(table["features/means"], table["image"].float().mean((2, 3)), rtol=1e-6, atol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_columns_in_a_cache(device: str, tmp_path: Path) -> None:
    tables, extractor = caches(tmp_path), Means()
    run(tables, device, extractor, tmp_path)
    check(tables)
    assert max(extractor.sizes) == (4 if device == "cpu" else 8)  # a GPU takes more rows at a time


def test_what_is_on_its_way_is_written_with_the_next_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: each batch's rows when the next one is being computed, the last ones at the end."""

    class Pending(Computed):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.copied = Event()  # type: ignore[assignment]

    class Event:
        def synchronize(self) -> None:
            pass

    monkeypatch.setattr(extraction, "Computed", Pending)
    tables = caches(tmp_path)
    run(tables, "cpu", Means(), tmp_path)
    check(tables)
