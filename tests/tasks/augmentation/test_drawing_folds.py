"""Folds of drawings: no classifier sees what it scores, nor where that came from."""

import pytest
import torch

from lfiw import InputError
from lfiw.data.splits import GENERATED, REAL
from lfiw.data.table import TensorTable
from lfiw.tasks.augmentation.drawing_ratio import DrawingFoldsDataModule, assign_folds, class_means, drawing_folds

LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
PARENTS = torch.arange(8).repeat_interleave(2)


def tables(class_conditional: bool) -> dict[int, TensorTable]:
    # each drawing is one grey level, so that a row tells which it is
    real = TensorTable({"image": (10 * torch.arange(8)).to(torch.uint8).view(8, 1, 1, 1), "label": LABELS})
    generated = TensorTable({"image": (10 * PARENTS + 1).to(torch.uint8).view(16, 1, 1, 1), "label": LABELS[PARENTS]})
    return drawing_folds(real, generated, PARENTS, 4, class_conditional=class_conditional)


def test_a_generated_drawing_is_in_its_parents_fold() -> None:
    sides = tables(False)
    data = DrawingFoldsDataModule(sides[REAL], sides[GENERATED], folds=4, batch_size=4)
    data.setup()
    for fold in range(4):
        data.use_fold(fold)
        held = set((sides[REAL]["fold"] == fold).nonzero().flatten().tolist())
        for part in ("train", "validation"):
            real, generated = data.splits[part]
            parents = set((generated.column("image").flatten() // 10).tolist())
            assert parents == set(real.rows.tolist())
            assert not parents & held
        trained, validated = (set(data.splits[p][REAL].rows.tolist()) for p in ("train", "validation"))
        assert not trained & validated
    assert torch.equal(data.folds_of(sides[GENERATED]), data.folds_of(sides[REAL])[PARENTS])
    assert sorted(data.folds_of(sides[REAL])[:4].tolist()) == [0, 1, 2, 3]


def test_the_class_mean_leaves_out_the_own_fold() -> None:
    sides = tables(True)
    for row in range(8):
        others = [10 * r for r in range(8) if LABELS[r] == LABELS[row] and r != row]
        assert sides[REAL]["image"][row].flatten().tolist() == [10 * row, round(sum(others) / 3)]
    for row in range(16):
        assert sides[GENERATED]["image"][row, 1].item() == sides[REAL]["image"][PARENTS[row], 1].item()


def test_means_of_uneven_folds() -> None:
    images = torch.tensor([0, 100, 200], dtype=torch.uint8).view(3, 1, 1, 1)
    means = class_means(images, torch.zeros(3, dtype=torch.int64), torch.tensor([0, 0, 1]), 2)
    assert means.flatten().tolist() == [200, 50]


def test_folds_that_cannot_be() -> None:
    with pytest.raises(InputError, match="folds=5: class 0 has 4 training drawings"):
        assign_folds(LABELS, 5)
