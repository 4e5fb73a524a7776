"""Drawings that train, validate and test, and the generated ones beside them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from drawings import write_generated, write_real

from lfiw import InputError
from lfiw.data import SampleCache, TensorTable
from lfiw.tasks.augmentation.omniglot import EqualParts, OmniglotDataModule, training_drawings
from lfiw.tasks.augmentation.regimes import TrainingRows, training_rows
from lfiw.weighting.weights import Weighting

SIZES = {"shots": 3, "validation_shots": 2, "test_shots": 4}
Caches = tuple[SampleCache, SampleCache]


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Caches:
    folder = tmp_path_factory.mktemp("drawings")
    real = write_real(folder / "real")
    return real, write_generated(folder / "generated", real)


def build(caches: Caches, **options: Any) -> OmniglotDataModule:
    chosen: dict[str, Any] = {"num_classes": 4, **SIZES, "batch_size": 8, "steps_per_epoch": 3, **options}
    return OmniglotDataModule(*caches, **chosen)


def test_parts_are_disjoint_and_of_the_asked_size(caches: Caches) -> None:
    data = build(caches, split_seed=3)
    real = caches[0]
    images = {name: table["image"].flatten(1) for name, table in data.drawings.items()}
    assert {name: len(part) for name, part in images.items()} == {"train": 12, "validation": 8, "test": 16}
    together = torch.cat(list(images.values()))
    of_classes = torch.isin(real["label"], data.classes)
    # every drawing of the chosen classes once: 3 + 2 + 4 of 9
    assert sorted(map(tuple, together.tolist())) == sorted(map(tuple, real["image"][of_classes].flatten(1).tolist()))
    for table in data.drawings.values():
        assert table["label"].bincount().unique().numel() == 1


def test_generated_rows_are_children_of_drawings_that_train(caches: Caches) -> None:
    data = build(caches)
    _, generated = caches
    expected = [row for row, parent in enumerate(generated["parent"].tolist()) if parent in data.train_rows.tolist()]
    assert data.generated_rows.tolist() == expected
    assert torch.equal(data.train_rows[data.parents], generated["parent"][data.generated_rows])
    assert torch.equal(data.drawings["train"]["label"][data.parents], data.generated["label"])


def test_the_drawings_to_generate_from_are_those_that_train(caches: Caches) -> None:
    rows = training_drawings(caches[0]["label"], num_classes=4, shots=3, split_seed=7)
    assert torch.equal(rows, build(caches, split_seed=7).train_rows)


def test_splits_depend_on_the_seed_alone(caches: Caches) -> None:
    assert torch.equal(build(caches, split_seed=1, seed=5).train_rows, build(caches, split_seed=1).train_rows)
    assert not torch.equal(build(caches, split_seed=1).train_rows, build(caches, split_seed=2).train_rows)


@pytest.mark.parametrize("regime", ["real", "generated", "both_weighted"])
def test_batches(caches: Caches, regime: str) -> None:
    data = build(caches)
    n = len(data.generated)
    log_ratio = torch.linspace(-1, 1, n, dtype=torch.float64)
    rows = training_rows(regime, data.generated["label"], log_ratio, Weighting(), seed=0)
    data.use(rows)
    batches = list(data.train_dataloader())
    assert len(batches) == 3
    share = {"real": 8, "generated": 0, "both_weighted": 4}[regime]
    for batch in batches:
        assert int(batch["is_real"].sum()) == share
        assert len(batch["image"]) == 8
        made = ~batch["is_real"]
        assert (batch["weight"][batch["is_real"]] == 1).all()
        if regime == "both_weighted":
            pairs = {
                tuple(i): w for i, w in zip(data.generated["image"].flatten(1).tolist(), rows.weights, strict=True)
            }
            first = batch["image"][made].flatten(1)[0]
            assert first.tolist() in [list(i) for i in pairs]
            assert torch.isin(batch["weight"][made], rows.weights.float()).all()


def test_drawn_batches_follow_the_weights_within_each_class(caches: Caches) -> None:
    data = build(caches, batch_size=48, steps_per_epoch=8)
    labels, n = data.generated["label"], len(data.generated)
    log_ratio = torch.linspace(-2, 2, n, dtype=torch.float64)[torch.randperm(n, generator=torch.Generator())]
    data.use(training_rows("both_drawn", labels, log_ratio, Weighting(), seed=0))
    batches = list(data.train_dataloader())
    made = torch.cat([batch["position"][~batch["is_real"]] for batch in batches])
    assert all((batch["weight"] == 1).all() for batch in batches)
    num_rows = 24 * 8
    assert labels[made].bincount().tolist() == [num_rows // 4] * 4
    for label in range(4):
        own = labels == label
        expected = num_rows / 4 * torch.softmax(log_ratio[own], 0)
        assert ((made.bincount(minlength=n)[own] - expected).abs() < 1).all()


def test_processes_share_the_batch_of_one() -> None:
    alone = list(EqualParts([5, 7], batch_size=8, num_batches=4, seed=1))
    shared = [list(EqualParts([5, 7], batch_size=8, num_batches=4, seed=1, rank=r, world_size=2)) for r in range(2)]
    for whole, first, second in zip(alone, *shared, strict=True):
        assert sorted(torch.cat([first.positions, second.positions]).tolist()) == sorted(whole.positions.tolist())
        for part in (first, second):
            assert int((part.positions < 5).sum()) == 2
    with pytest.raises(InputError, match=r"data.batch_size=6 must be a multiple of 4"):
        EqualParts([5, 7], batch_size=6, num_batches=1, seed=0, world_size=2)


def test_too_few_drawings_or_classes(caches: Caches) -> None:
    with pytest.raises(InputError, match=r"has 9 drawings, 3 for train . 2 for validation . 5 for test are asked for"):
        build(caches, test_shots=5)
    with pytest.raises(InputError, match=r"data.num_classes=7: the table of real drawings has 6 classes"):
        build(caches, num_classes=7)


def test_generated_rows_of_other_drawings(caches: Caches, tmp_path: Path) -> None:
    real, _ = caches
    other = write_real(tmp_path / "other", seed=5)
    of_other = write_generated(tmp_path / "of_other", other)
    with pytest.raises(InputError, match=r"data.generated was made from other drawings"):
        build((real, of_other))
    parents = torch.arange(len(real)).repeat_interleave(4)
    wrong = write_generated(tmp_path / "labels", real, label=(real["label"][parents] + 1) % 6)
    with pytest.raises(InputError, match=r"216 rows have another class than the drawing"):
        build((real, wrong))
    wrong = write_generated(tmp_path / "parents", real, parent=parents + 1)
    with pytest.raises(InputError, match=r"parents 1 … 54 are not rows of data.real"):
        build((real, wrong))
    few = {name: values[:40] for name, values in caches[1].read(slice(0, 40), ["image", "label", "parent"]).items()}
    with pytest.raises(InputError, match=r"training drawings have no generated one"):
        OmniglotDataModule(real, TensorTable(few), num_classes=0, **SIZES)
    with pytest.raises(InputError, match=r"data.generated: .* has no parent: make it by tools/cache_samples.py dagan"):
        build((real, real))


@pytest.mark.parametrize("weights", [[1.0, -1.0], [0.0, 0.0], [1.0, float("nan")]])
def test_weights_that_cannot_be(caches: Caches, weights: list[float]) -> None:
    with pytest.raises(InputError, match=r"weights: "):
        build(caches).use(TrainingRows(True, torch.arange(2), torch.tensor(weights, dtype=torch.float64)))
