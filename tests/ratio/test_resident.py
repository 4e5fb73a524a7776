"""Training rows on the device give the batches that the loader would read, to the bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lfiw import InputError
from lfiw.data import CacheWriter, SampleCache, TensorTable
from lfiw.data.splits import Subset
from lfiw.ratio import resident as home
from lfiw.ratio.mixed import MixedDataModule
from lfiw.ratio.resident import free_bytes, is_resident, num_bytes, resident

CPU = torch.device("cpu")


def numbers(num: int, seed: int) -> Tensor:
    return torch.randn(num, 3, generator=torch.Generator().manual_seed(seed))


def pixels(num: int, seed: int) -> Tensor:
    return torch.randint(256, (num, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def cache(path: Path, **columns: Tensor) -> SampleCache:
    with CacheWriter(path) as writer:
        writer.write(columns)
    return SampleCache(path)


def batches(tables: list[Any], resident: bool, **options: Any) -> list[dict[str, Tensor]]:
    """Of two epochs of training, then those of validation."""
    data = MixedDataModule(*tables, batch_size=8, evaluation_batch_size=7, device_resident=resident, **options)
    data.setup()
    training, validation = data.train_dataloader(), data.val_dataloader()
    found = list(training)
    training.batches.set_epoch(1)  # type: ignore[attr-defined]
    return [*found, *training, *validation]


@pytest.mark.parametrize("augment", ["none", "crop_flip", "affine"])
@pytest.mark.parametrize("mixing", ["balanced", "natural"])
def test_images(mixing: str, augment: str, tmp_path: Path) -> None:
    tables = [cache(tmp_path / "real", image=pixels(60, 0)), cache(tmp_path / "generated", image=pixels(45, 1))]
    read, held = (batches(tables, resident, mixing=mixing, augment=augment) for resident in (False, True))
    assert len(read) == len(held) > 5
    for expected, found in zip(read, held, strict=True):
        assert list(found) == list(expected)
        for name, values in expected.items():
            assert found[name].dtype == values.dtype, name
            assert found[name].equal(values), name


def test_weighted_vectors_of_two_precisions() -> None:
    weight = torch.rand(60, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    tables = [
        TensorTable({"vector": numbers(60, 0), "weight": weight}),
        TensorTable({"vector": numbers(60, 1).double(), "weight": weight}),
    ]
    read, held = (batches(tables, resident, input="vector", weighted=True) for resident in (False, True))
    for expected, found in zip(read, held, strict=True):
        assert found["vector"].dtype == torch.float64
        for name, values in expected.items():
            assert found[name].equal(values), name


def test_messages_name_the_tables_rows(tmp_path: Path) -> None:
    table = cache(tmp_path / "real", image=pixels(60, 0))
    data = MixedDataModule(table, cache(tmp_path / "generated", image=pixels(45, 1)), batch_size=8)
    data.setup()
    data.device_resident = True
    loader: Any = data.train_dataloader()
    batch = next(iter(loader))
    real, _ = loader.dataset.rows_of(batch)
    assert real["table"] == str(table.path)
    assert table[torch.tensor(real["rows"])]["image"].equal(batch["image"][batch["side"] == 0])


def test_rows_are_read_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, "BLOCK", 7)
    table = TensorTable({"vector": numbers(40, 0), "row": torch.arange(100, 140)}, "elsewhere")
    rows = torch.tensor([1, 3, 3, *range(10, 30)])
    held = resident(Subset(table, rows), ["vector"], CPU)
    assert held.column("vector").equal(table["vector"][rows])
    assert held.column("row").equal(rows + 100)


@pytest.mark.parametrize(
    ("device", "wanted", "free", "expected"),
    [
        ("cuda", None, 4.0, True),
        ("cuda", None, 3.9, False),
        ("cuda", True, 1.0, True),
        ("cuda", False, 9.0, False),
        ("cpu", None, 9.0, False),
        ("cpu", True, 9.0, True),
        ("mps", None, 9.0, False),
    ],
)
def test_rows_stay_where_a_quarter_of_the_memory_is_enough(
    device: str, wanted: bool | None, free: float, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    subset = Subset(TensorTable({"image": pixels(50, 0), "vector": numbers(50, 0)}), torch.arange(0, 50, 2))
    needed = num_bytes(subset, ["image", "vector"])
    assert needed == 25 * (3 * 8 * 8 + 3 * 4)
    monkeypatch.setattr(home, "free_bytes", lambda _: free * 2 * needed)
    assert is_resident([subset, subset], ["image", "vector"], torch.device(device), wanted) == expected


def test_rows_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_bytes(CPU) == float("inf")
    subset = Subset(TensorTable({"vector": numbers(50, 0)}), torch.arange(50))
    monkeypatch.setattr(home, "free_bytes", lambda _: 599)
    with pytest.raises(InputError, match=r"data\.device_resident=true.*use data\.device_resident=false"):
        is_resident([subset], ["vector"], torch.device("cuda"), True)
