"""One, two and four processes: the same numbers from rows that they do not divide, none twice, none missing."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import exit_codes, join, leave, start
from pytorch_lightning import LightningModule
from torch import Tensor
from torchmetrics import Metric
from trainings import IN_SEVERAL_PROCESSES, build

from lfiw.data import CacheWriter, SampleCache, TensorTable
from lfiw.data.batches import RowsInOrder
from lfiw.data.splits import InOrderDataModule, Subset, everything
from lfiw.evaluation.module import Evaluation, FeatureColumn, LogitColumn
from lfiw.features.extraction import write_columns
from lfiw.metrics.class_proportions import RatioScores
from lfiw.ratio.mixed import MixedDataModule
from lfiw.schemas import Trainer
from lfiw.training.trainer import build_trainer

WORLD_SIZES = (1, 2, 4)
NUM_REAL, NUM_GENERATED, NUM_REFERENCE, BATCH = 47, 83, 41, 9
STREAMED = 1e-10  # sums in float64 of the same features, in another order
SINGLE = 1e-5  # of networks in single precision, whose sums depend on the size of the batch
COLUMNS = {"row": "position_of", "log_ratio": "log_ratio/x"}


class Rows(LightningModule):
    """Writes which row it was given, and a log-ratio by a network."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Linear(3, 1)
        with torch.no_grad():
            self.net.weight.copy_(torch.tensor([[0.5, -1.0, 2.0]]))
            self.net.bias.fill_(0.3)

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        return {"row": batch["vector"][:, 0].clone(), "log_ratio": self.net(batch["vector"])[:, 0].double()}


def table(num: int, shift: float) -> TensorTable:
    source = torch.Generator().manual_seed(num)
    return TensorTable(
        {
            "features/a": torch.randn(num, 4, generator=source) + shift,
            "logits/c": 2 * torch.randn(num, 3, generator=source),
        }
    )


def options_of(world_size: int) -> dict[str, Any]:
    return {"devices": world_size, "strategy": "ddp"} if world_size > 1 else {}


def scores(folder: Path, world_size: int, convention: str) -> dict[str, Any]:
    """Weighted FID, KID, IS, class proportions and neighbourhood scores, by the pass that evaluate.py runs."""
    subsets: list[Subset] = [
        everything(table(num, shift)) for num, shift in ((NUM_REAL, 0.0), (NUM_GENERATED, 0.4), (NUM_REFERENCE, 0.0))
    ]
    data = InOrderDataModule(lambda: [subsets], ["features/a", "logits/c"], batch_size=BATCH)
    weights = torch.rand(NUM_GENERATED, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights[::7, 1] = 0
    module = Evaluation(
        weights,
        [FeatureColumn("features/a", 4)],
        [LogitColumn("logits/c", 3)],
        with_reference=True,
        convention=convention,
        neighbours=2,
    )
    trainer = build_trainer(Trainer(accelerator="cpu", progress=False, **options_of(world_size)), folder, [])
    trainer.test(module, datamodule=data, verbose=False)
    again = {name: twice(metric) for name, metric in module.named_modules() if isinstance(metric, Metric)}
    assert again
    return {
        "scores": module.scores,
        "reference": module.reference,
        "proportions": module.proportions,
        "real_proportions": module.real_proportions,
    }


def classifier_scores(rank: int, world_size: int) -> dict[str, Any]:
    """Of the same log-ratios, whatever network they are from."""
    log_ratio = torch.randn(101, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    is_real = log_ratio + torch.linspace(-1, 1, 101) > 0
    metric = RatioScores()
    for index in RowsInOrder(101, batch_size=BATCH, rank=rank, world_size=world_size):
        metric.update(log_ratio[index.positions], is_real[index.positions])
    twice(metric)
    return {name: value.item() for name, value in metric.compute().items()}


def twice(metric: Metric) -> None:
    """`compute` changes nothing: a second one, that is not remembered, is equal to the bit."""
    found = []
    for _ in range(2):
        metric._computed = None
        found.append(metric.compute())
    first, second = (list(f.values()) if isinstance(f, dict) else [f] for f in found)
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def columns(folder: Path, world_size: int) -> None:
    path = folder / f"cache{world_size}"
    if torch.distributed.is_initialized() and torch.distributed.get_rank() > 0:
        torch.distributed.barrier()
    else:
        vectors = torch.randn(101, 3, generator=torch.Generator().manual_seed(1))
        vectors[:, 0] = torch.arange(101)
        with CacheWriter(path, source={}) as writer:
            writer.write({"vector": vectors})
        if world_size > 1:
            torch.distributed.barrier()
    trainer = build_trainer(Trainer(accelerator="cpu", progress=False, **options_of(world_size)), folder, [])
    data = MixedDataModule(SampleCache(path), None, evaluation_batch_size=BATCH)
    write_columns(trainer, Rows(), data.tables.values(), "vector", COLUMNS, {"test": "x"}, **data.reading)


def process(rank: int, world_size: int, folder: str) -> None:
    path = Path(folder)
    join(rank, world_size, path)
    found: dict[str, Any] = {name: scores(path, world_size, name) for name in ("standard", "paper")}
    found["classifier"] = classifier_scores(rank, world_size)
    for name in IN_SEVERAL_PROCESSES:
        training = build(name, path, loggers=[], **options_of(world_size))
        (validated,) = training.trainer.validate(training.module, datamodule=training.data, verbose=False)
        found[name] = validated
    columns(path, world_size)
    (path / f"{world_size}-{rank}.json").write_text(json.dumps(found))
    leave(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("world_sizes")
    for world_size in WORLD_SIZES:
        (path / "rendezvous").unlink(missing_ok=True)
        assert exit_codes(start(process, world_size, str(path)), 120) == [0] * world_size
    return path


def results(folder: Path, world_size: int, rank: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{world_size}-{rank}.json").read_text())
    return found


def flat(found: Any) -> list[float]:
    if isinstance(found, dict):
        return [value for name in sorted(found) for value in flat(found[name])]
    return [value for part in found for value in flat(part)] if isinstance(found, list) else [found]


@pytest.mark.parametrize("world_size", WORLD_SIZES[1:])
@pytest.mark.parametrize("name", ["standard", "paper", "classifier"])
def test_scores(folder: Path, world_size: int, name: str) -> None:
    expected = flat(results(folder, 1, 0)[name])
    assert len(expected) > 5
    for rank in range(world_size):
        found = flat(results(folder, world_size, rank)[name])
        assert found == pytest.approx(expected, rel=STREAMED, abs=1e-12)


@pytest.mark.parametrize("world_size", WORLD_SIZES[1:])
@pytest.mark.parametrize("name", IN_SEVERAL_PROCESSES)
def test_validation_metrics(folder: Path, world_size: int, name: str) -> None:
    expected = results(folder, 1, 0)[name]
    assert expected
    for rank in range(world_size):
        assert results(folder, world_size, rank)[name] == pytest.approx(expected, rel=SINGLE)


@pytest.mark.parametrize("world_size", WORLD_SIZES)
def test_columns(folder: Path, world_size: int) -> None:
    cache = SampleCache(folder / f"cache{world_size}")
    cache.verify()
    assert cache["position_of"].equal(torch.arange(101.0))
    alone = SampleCache(folder / "cache1")
    torch.testing.assert_close(cache["log_ratio/x"], alone["log_ratio/x"], rtol=SINGLE, atol=SINGLE)
    assert cache["log_ratio/x"].dtype == torch.float64
