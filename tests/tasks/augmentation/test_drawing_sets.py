"""Sets of drawings of one class."""

from pathlib import Path

import pytest
import torch
from drawings import write_real

from lfiw import InputError
from lfiw.data import TensorTable
from lfiw.tasks.augmentation.drawing_sets import DrawingSetsDataModule, SetBatches, rows_of_classes


def test_rows_of_classes() -> None:
    found = rows_of_classes(torch.tensor([3, 1, 3, 1, 1]))
    assert {c: r.tolist() for c, r in found.items()} == {1: [1, 3, 4], 3: [0, 2]}


def test_sets_are_of_one_class_and_without_repeats() -> None:
    rows = {0: torch.arange(5), 1: torch.arange(5, 9)}
    batches = list(SetBatches(rows, set_size=3, batch_size=64, num_batches=2, seed=0))
    for batch in batches:
        assert batch.rows.shape == (64, 3)
        for members in batch.rows.tolist():
            assert len(set(members)) == 3
            assert len({m < 5 for m in members}) == 1
    assert not torch.equal(batches[0].rows, batches[1].rows)


def test_validation_classes_never_train(tmp_path: Path) -> None:
    table = write_real(tmp_path / "real")
    data = DrawingSetsDataModule(table, set_size=3, validation_classes=2, batch_size=4, steps_per_epoch=2)
    assert list(data.train_rows) == [0, 1, 2, 3]
    assert list(data.validation_rows) == [4, 5]
    (batch, *_) = list(data.train_dataloader())
    assert batch["image"].shape == (4, 3, 1, 16, 16)


def test_what_cannot_be(tmp_path: Path) -> None:
    table = TensorTable({"image": torch.zeros(4, 1, 8, 8, dtype=torch.uint8), "label": torch.tensor([0, 0, 1, 1])})
    with pytest.raises(InputError, match=r"data.validation_classes=2: the table has 2 classes"):
        DrawingSetsDataModule(table, set_size=2, validation_classes=2, batch_size=4, steps_per_epoch=2)
    data = DrawingSetsDataModule(table, set_size=3, validation_classes=1, batch_size=4, steps_per_epoch=2)
    with pytest.raises(InputError, match=r"class 0 has 2 rows, a set takes 3"):
        data.train_dataloader()
    with pytest.raises(InputError, match=r"has no label"):
        DrawingSetsDataModule(
            TensorTable({"image": table["image"]}), set_size=2, validation_classes=1, batch_size=4, steps_per_epoch=2
        )
