"""Two tables mixed: which rows stand in which batch, and the statistics of the input."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lfiw import InputError
from lfiw.data import CacheWriter, SampleCache, TensorTable
from lfiw.data.batches import BatchIndex
from lfiw.data.splits import GENERATED, REAL, MixedRows, Subset, everything, split_rows
from lfiw.data.transforms import crop_and_flip
from lfiw.ratio.mixed import MixedDataModule

N_REAL, N_GENERATED = 60, 90


def images(n: int, start: int) -> Tensor:
    """Every pixel of an image is the number of its row, plus `start`."""
    return (torch.arange(n, dtype=torch.uint8) + start)[:, None, None, None].expand(n, 1, 4, 4).contiguous()


def module(**options: Any) -> MixedDataModule:
    tables = {
        "real": TensorTable({"image": images(N_REAL, 0)}),
        "generated": TensorTable({"image": images(N_GENERATED, 100)}),
    }
    made = MixedDataModule(**{**tables, "batch_size": 8, "evaluation_batch_size": 7, **options})
    made.setup()
    return made


def test_splits_are_disjoint_on_both_sides() -> None:
    splits = module().splits
    assert list(splits) == ["train", "validation", "evaluation"]
    for side, num in ((REAL, N_REAL), (GENERATED, N_GENERATED)):
        rows = torch.cat([pair[side].rows for pair in splits.values()])
        assert sorted(rows.tolist()) == list(range(num))
    assert [len(pair[REAL]) for pair in splits.values()] == [24, 12, 24]
    # another seed for each side: the rows of one say nothing of those of the other
    same = module(generated=TensorTable({"image": images(N_REAL, 0)})).splits["train"]
    assert not torch.equal(same[REAL].rows, same[GENERATED].rows)


def test_split_seed_alone_decides() -> None:
    def rows(**options: Any) -> list[int]:
        return module(**options).splits["train"][REAL].rows.tolist()

    assert rows(split_seed=1, seed=1) == rows(split_seed=1, seed=2) != rows(split_seed=2, seed=1)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("mixing", ["balanced", "natural"])
def test_a_training_batch_holds_the_rows_that_it_names(mixing: str, num_workers: int) -> None:
    data = module(mixing=mixing, num_workers=num_workers)
    loader = data.train_dataloader()
    train = data.splits["train"]
    seen = []
    for batch in loader:
        assert sorted(batch) == ["image", "position", "side"]
        for image, side, position in zip(batch["image"], batch["side"], batch["position"], strict=True):
            row = int(train[side].rows[position])
            assert image.unique().tolist() == [row + 100 * int(side)]
            seen.append((int(side), row))
        assert batch["side"].tolist() == sorted(batch["side"].tolist())
        if mixing == "balanced":
            assert batch["side"].sum() == 4
    assert len(seen) == len(loader) * 8
    assert len([row for side, row in set(seen) if side == GENERATED]) >= 36 - 4
    del loader


def test_counts_are_what_the_loss_sees() -> None:
    assert module().counts == (1, 1)
    assert module(mixing="natural").counts == (24, 36)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_validation_passes_once_in_order(num_workers: int) -> None:
    data = module(num_workers=num_workers, augment="crop_flip")
    batches = list(data.val_dataloader())
    sides = torch.cat([b["side"] for b in batches])
    positions = torch.cat([b["position"] for b in batches])
    assert sides.tolist() == [0] * 12 + [1] * 18
    assert positions.tolist() == [*range(12), *range(18)]
    expected = torch.cat([subset.column("image") for subset in data.splits["validation"]])
    assert torch.equal(torch.cat([b["image"] for b in batches]), expected)  # not augmented


def test_augmentation_is_that_of_the_whole_batch_and_leaves_the_table() -> None:
    table = TensorTable({"image": torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8)})
    kept = table["image"].clone()
    rows = MixedRows([everything(table)], ["image"], "crop_flip")
    positions = torch.randperm(40)[:12]
    whole = rows[BatchIndex(positions, 5, (0, 1), 12)]["image"]
    assert torch.equal(whole, crop_and_flip(kept[positions], seed=5))
    for rank in range(3):
        part = rows[BatchIndex(positions[rank::3], 5, (rank, 3), 12)]["image"]
        assert torch.equal(part, whole[rank::3])
    assert torch.equal(rows[BatchIndex(positions)]["image"], kept[positions])
    assert torch.equal(table["image"], kept)


def test_rows_of_a_cache_are_left_untouched(tmp_path: Path) -> None:
    with CacheWriter(tmp_path / "cache") as writer:
        writer.write({"image": images(40, 0)})
    cache = SampleCache(tmp_path / "cache")
    batch = MixedRows([everything(cache)], ["image"])[BatchIndex(torch.arange(40))]["image"]
    batch.fill_(9)
    assert torch.equal(cache["image"], images(40, 0))
    cache.verify()


def test_an_empty_share_of_a_batch() -> None:
    rows = MixedRows([everything(TensorTable({"image": images(3, 0)}))] * 2, ["image"], "crop_flip")
    batch = rows[BatchIndex(torch.empty(0, dtype=torch.int64), 1, (1, 2), 1)]
    assert {name: tuple(v.shape) for name, v in batch.items()} == {
        "image": (0, 1, 4, 4),
        "side": (0,),
        "position": (0,),
    }


def test_separate_evaluation_tables() -> None:
    more = TensorTable({"image": images(10, 50)})
    data = module(real_evaluation=more, fractions={"train": 0.4, "validation": 0.2, "evaluation": 0.4})
    assert [len(pair[REAL]) for pair in data.splits.values()] == [40, 20, 10]  # all training rows train or validate
    assert [len(pair[GENERATED]) for pair in data.splits.values()] == [36, 18, 36]
    assert data.splits["evaluation"][REAL].table is more
    assert list(data.tables) == ["real", "generated", "real_evaluation"]


def test_evaluation_rows_that_trained_are_refused(tmp_path: Path) -> None:
    table = TensorTable({"image": images(40, 0)})
    with pytest.raises(InputError, match="is given for evaluation too"):
        module(generated=table, generated_evaluation=table)
    with CacheWriter(tmp_path / "cache") as writer:
        writer.write({"image": images(40, 0)})
    with pytest.raises(InputError, match="is given for evaluation too"):
        module(real=SampleCache(tmp_path / "cache"), real_evaluation=SampleCache(tmp_path / "cache"))


@pytest.mark.parametrize("side", ["generated", "real_evaluation", "generated_evaluation"])
@pytest.mark.parametrize("other", [images(9, 0).float(), images(9, 0)[:, :, :3], images(9, 0).repeat(1, 3, 1, 1)])
def test_samples_unlike_each_other(side: str, other: Tensor) -> None:
    with pytest.raises(InputError, match=r"the two tables do not match in column 'image': torch.uint8") as error:
        module(**{side: TensorTable({"image": other})})
    assert "\n" not in str(error.value)


def test_columns_in_another_order_on_the_other_side(tmp_path: Path) -> None:
    for side, names in (("real", ["a", "b"]), ("generated", ["b", "a"]), ("other", ["x"])):
        with CacheWriter(tmp_path / side, source={"columns": names}) as writer:
            writer.write({"vector": torch.randn(40, 2)})
    real, generated, other = (SampleCache(tmp_path / side) for side in ("real", "generated", "other"))
    with pytest.raises(
        InputError, match=r"number 0 of the vectors is 'a' in .*, 'b' in .*: import both with --columns a"
    ):
        MixedDataModule(real, generated).setup()
    MixedDataModule(real, other).setup()  # of one column of lists


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input": "imag"}, "no column 'imag': the table has image"),
        ({"augment": "cut"}, "data.augment=cut: expected one of none, crop, crop_flip"),
        ({"mixing": "even"}, "data.mixing=even: expected one of balanced, natural"),
        ({"num_workers": -1}, "data.num_workers=-1"),
        ({"fractions": {"train": 0.5, "validation": 0.5}}, "lack evaluation"),
        (
            {"fractions": {"train": 1.0, "validation": 0.0, "evaluation": 0.0}},
            "data.fractions.validation=0 leaves no row",
        ),
        ({"fractions": {"train": 0.0, "validation": 1.0, "evaluation": 0.0}}, "data.fractions.train=0 leaves no row"),
        ({"fractions": {"train": 0.9, "validation": 0.9, "evaluation": 0.1}}, "sum to at most 1"),
        ({"fractions": {"train": 0.9, "validation": 0.001, "evaluation": 0.0}}, "the validation split has no row"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        module(**options)


def test_a_separate_evaluation_table_and_no_other_share() -> None:
    with pytest.raises(InputError, match=r"data\.fractions\.train=0 leaves no row"):
        module(
            real_evaluation=TensorTable({"image": images(9, 0)}),
            fractions={"train": 0.0, "validation": 0.0, "evaluation": 1.0},
        )


@pytest.mark.parametrize(("shape", "augment"), [((), "none"), ((6,), "crop_flip"), ((6, 6), "crop_flip")])
def test_samples_that_are_no_vectors_or_images(shape: tuple[int, ...], augment: str) -> None:
    tables = {side: TensorTable({"image": torch.zeros(30, *shape)}) for side in ("real", "generated")}
    with pytest.raises(InputError, match=r"has samples of shape .*; expected \(d,\), or \(channels, height, width\)"):
        module(**tables, augment=augment)


@pytest.mark.parametrize("shape", [(5,), (3, 4, 4)])
def test_statistics_are_those_of_numpy(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(n, *shape, generator=generator) * 3 + offset for n, offset in ((50, 100.0), (200, 97.0))]
    data = module(real=TensorTable({"x": values[0]}), generated=TensorTable({"x": values[1]}), input="x")
    spec = data.input_spec()
    assert (spec.column, spec.shape, spec.dtype) == ("x", shape, "torch.float32")
    axes = (0, 2, 3) if len(shape) == 3 else (0,)
    sides = [subset.column("x").double().numpy() for subset in data.splits["train"]]
    # both sides count the same: weights 1/n each
    weights = np.concatenate([np.full(len(side), 1 / len(side)) for side in sides])
    weights = np.broadcast_to(weights.reshape(-1, *(1,) * len(shape)), (len(weights), *shape))
    joined = np.concatenate(sides)
    mean = np.average(joined, axis=axes, weights=weights)
    centred = np.moveaxis(np.moveaxis(joined, 1, -1) - mean, -1, 1)
    std = np.sqrt(np.average(centred**2, axis=axes, weights=weights))
    # E[x²] − μ² loses the 3 digits of (μ/σ)², of 16
    np.testing.assert_allclose(spec.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(spec.std, std, rtol=1e-10)


def test_a_constant_feature_is_left_alone() -> None:
    x = torch.stack([torch.full((30,), 7.0), torch.randn(30, generator=torch.Generator().manual_seed(0))], dim=1)
    spec = module(real=TensorTable({"x": x}), generated=TensorTable({"x": x}), input="x").input_spec()
    assert spec.std[0] == 1.0
    assert spec.mean[0] == 7.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite(bad: float) -> None:
    x = torch.zeros(30, 2)
    x[:, 1] = bad
    data = module(real=TensorTable({"x": torch.zeros(30, 2)}), generated=TensorTable({"x": x}), input="x")
    with pytest.raises(InputError, match="column 'x' has NaN or infinite values"):
        data.input_spec()


def test_setup_once() -> None:
    data = module()
    splits = data.splits
    data.setup("fit")
    assert data.splits is splits


def test_subsets_are_those_of_split_rows() -> None:
    data = module(split_seed=3)
    expected = split_rows(N_GENERATED, {"train": 0.4, "validation": 0.2, "evaluation": 0.4}, seed=7)
    assert isinstance(data.splits["train"][GENERATED], Subset)
    assert torch.equal(data.splits["train"][GENERATED].rows, expected["train"])


@pytest.mark.parametrize("folds", [1, 3])
def test_rows_of_a_group_stay_in_one_part(folds: int) -> None:
    random = torch.Generator().manual_seed(0)
    tables = [
        TensorTable({"vector": torch.randn(n, 2), "group": torch.randint(20, (n,), generator=random) * 7}, name)
        for n, name in ((150, "real"), (120, "generated"))
    ]
    data = MixedDataModule(*tables, grouped=True, folds=folds)
    data.setup()
    for fold in range(folds):
        data.use_fold(fold)
        for side, table in enumerate(tables):
            held_out = (data.folds_of(table) == fold).nonzero().squeeze(1)
            parts = [data.splits[name][side].rows for name in ("train", "validation")] + [held_out]
            if folds == 1:
                parts[-1] = data.splits["evaluation"][side].rows
            groups = [set(table["group"][rows].tolist()) for rows in parts]
            assert sum(map(len, groups)) == len(set.union(*groups))
            assert all(groups)


def test_weights_come_with_the_training_rows_and_validation_rows_are_drawn_by_them() -> None:
    weight = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64).repeat(100)
    tables = [TensorTable({"vector": weight[:, None].float(), "weight": weight}) for _ in range(2)]
    data = MixedDataModule(*tables, weighted=True, fractions={"train": 0.5, "validation": 0.5, "evaluation": 0.0})
    data.setup()
    for batch in data.train_dataloader():
        assert torch.equal(batch["vector"][:, 0].double(), batch["weight"])
    drawn = torch.cat([batch["vector"][:, 0] for batch in data.val_dataloader()])
    expected = torch.cat([subset.column("weight") for subset in data.splits["validation"]])
    assert len(drawn) == len(expected)
    assert (drawn > 0).all()
    # of two sides, systematic draws miss a value's share by at most two rows
    share = expected[expected == 3].sum() / expected.sum()
    assert (drawn == 3).double().mean() == pytest.approx(share.item(), abs=0.05)


def test_half_precision_is_standardised_in_float32() -> None:
    """A spread below the smallest normal number of float16 is none below that of float32."""
    generator = torch.Generator().manual_seed(0)
    real, generated = (2e-5 * torch.randn(200, 3, generator=generator) for _ in range(2))
    tables = [TensorTable({"features/half": side.half()}, "half") for side in (real, generated)]
    data = MixedDataModule(*tables, input="features/half")
    data.setup()
    spec = data.input_spec()
    assert spec.std == pytest.approx([2e-5] * 3, rel=0.2)
