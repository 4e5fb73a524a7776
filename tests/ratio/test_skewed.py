"""A generator that is a skewed part of the data: its exact ratio is that of the class proportions."""

import pytest
import torch

from lfiw import Weighting
from lfiw.data import TensorTable
from lfiw.data.splits import GENERATED, REAL
from lfiw.errors import InputError
from lfiw.ratio.digits import SkewedDataModule

N = 6000
KEEP = [1.0, 0.5, 0.1]


def table(labels: torch.Tensor | None = None) -> TensorTable:
    labels = torch.arange(N) % 3 if labels is None else labels
    return TensorTable({"vector": torch.randn(N, 2), "label": labels})


def module(**options) -> SkewedDataModule:
    data = SkewedDataModule(options.pop("table", table()), options.pop("keep", KEEP), **{"input": "vector", **options})
    data.setup()
    return data


@pytest.mark.parametrize("folds", [1, 3])
def test_the_sides_share_no_row(folds: int) -> None:
    data = module(folds=folds)
    real, generated = (set(data.available_rows(side).tolist()) for side in (REAL, GENERATED))
    assert not real & generated
    assert len(real) == N // 2
    for split in (data.splits[name] for name in ("train", "validation", "evaluation")):
        assert set(split[REAL].rows.tolist()) <= real
        assert set(split[GENERATED].rows.tolist()) <= generated


def test_the_skew_is_as_asked_and_exact_weights_undo_it() -> None:
    data = module(folds=2)
    subset = data.splits["evaluation"][GENERATED]
    labels = subset.column("label")
    shares = torch.bincount(labels).double() / len(labels)
    expected = torch.tensor(KEEP, dtype=torch.float64) / sum(KEEP)
    assert torch.allclose(shares, expected, atol=0.03)
    log_ratio = data.exact_log_ratio(subset)
    assert log_ratio is not None
    corrected = torch.bincount(labels, weights=Weighting()(log_ratio))
    real = torch.bincount(data.real["label"][data.available_rows(REAL)]).double() / (N // 2)
    # all rows of the generated half are scored: their shares are exactly those that the ratio is made from
    assert torch.allclose(corrected, real, atol=1e-12)


def test_errors() -> None:
    with pytest.raises(InputError, match="class 1 has rows on one side only"):
        module(keep=[1.0, 0.0, 1.0])
    with pytest.raises(InputError, match="the labels go from 0 to 2"):
        module(keep=[1.0, 0.5])
    with pytest.raises(InputError, match="no column 'label'"):
        module(table=TensorTable({"vector": torch.randn(N, 2)}))
    labels = torch.zeros(N, dtype=torch.int64)
    labels[:1] = 1
    with pytest.raises(InputError, match="class 1 has rows on one side only"):
        module(table=table(labels), keep=[1.0, 1.0])
