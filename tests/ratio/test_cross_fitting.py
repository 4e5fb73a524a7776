"""Folds: each row is held out once, and nothing that trains is scored."""

import pytest
import torch

from lfiw.data import TensorTable
from lfiw.data.splits import GENERATED, REAL
from lfiw.errors import InputError
from lfiw.ratio.mixed import MixedDataModule

N_REAL, N_GENERATED, FOLDS = 100, 70, 3


def module(**options) -> MixedDataModule:
    real, generated = (TensorTable({"vector": torch.randn(n, 2)}) for n in (N_REAL, N_GENERATED))
    data = MixedDataModule(real, generated, **{"input": "vector", "folds": FOLDS, **options})
    data.setup()
    return data


def rows(data: MixedDataModule, part: str, side: int) -> set[int]:
    return set(data.splits[part][side].rows.tolist())


@pytest.mark.parametrize("side", [REAL, GENERATED])
def test_no_row_that_a_fold_holds_out_trains_or_validates_in_it(side: int) -> None:
    data = module()
    table = (data.real, data.generated)[side]
    assert table is not None
    fold_of = data.folds_of(table)
    for fold in range(FOLDS):
        data.use_fold(fold)
        held_out = set((fold_of == fold).nonzero()[:, 0].tolist())
        train, validation = rows(data, "train", side), rows(data, "validation", side)
        assert held_out
        assert not held_out & (train | validation)
        assert not train & validation
        # every other row that is not set aside is used; a third of these validates, as the fractions say
        assert held_out | train | validation == set((fold_of >= 0).nonzero()[:, 0].tolist())
        assert len(validation) / len(train | validation) == pytest.approx(1 / 3, abs=0.02)


def test_real_rows_to_score_are_set_aside_and_all_generated_ones_are_scored() -> None:
    data, without = module(), module(folds=1)
    assert rows(data, "evaluation", REAL) == rows(without, "evaluation", REAL)
    assert rows(data, "evaluation", GENERATED) == set(range(N_GENERATED))
    assert data.real is not None
    assert data.generated is not None
    aside = (data.folds_of(data.real) < 0).nonzero()[:, 0].tolist()
    assert set(aside) == rows(data, "evaluation", REAL)
    assert (data.folds_of(data.generated) >= 0).all()
    assert (without.folds_of(without.generated) == -1).all()


def test_folds_are_of_one_size_and_a_function_of_the_seed() -> None:
    data = module()
    assert data.generated is not None
    sizes = torch.bincount(data.folds_of(data.generated), minlength=FOLDS)
    assert sizes.max() - sizes.min() <= 1
    assert torch.equal(data.folds_of(data.generated), module().folds_of(module().generated)) is False  # other tables
    again = MixedDataModule(data.real, data.generated, input="vector", folds=FOLDS)
    again.setup()
    assert torch.equal(data.folds_of(data.generated), again.folds_of(data.generated))
    other = MixedDataModule(data.real, data.generated, input="vector", folds=FOLDS, split_seed=1)
    other.setup()
    assert not torch.equal(data.folds_of(data.generated), other.folds_of(data.generated))


def test_errors() -> None:
    with pytest.raises(InputError, match="folds=0 must be at least 1"):
        module(folds=0)
    with pytest.raises(InputError, match=r"leave out data\.generated_evaluation"):
        module(generated_evaluation=TensorTable({"vector": torch.randn(5, 2)}))
    with pytest.raises(InputError, match="has no row"):
        module(folds=N_GENERATED + 1)
