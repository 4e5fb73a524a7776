"""Real images alone: the split, whole passes, batches shared out among processes, mirroring."""

import pytest
import torch

from lfiw import InputError
from lfiw.data import TensorTable
from lfiw.data.batches import ShuffledBatches
from lfiw.data.transforms import flip_only
from lfiw.generators.real_images import RealDataModule

IMAGES = torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1).expand(40, 1, 8, 8).contiguous()


def test_an_epoch_is_one_pass_and_validation_rows_never_train() -> None:
    data = RealDataModule(TensorTable({"image": IMAGES}), validation=0.25, batch_size=10)
    train = [batch["image"][:, 0, 0, 0] for batch in data.train_dataloader()]
    assert [len(batch) for batch in train] == [10, 10, 10]
    held_out = torch.cat([batch["image"][:, 0, 0, 0] for batch in data.val_dataloader()])
    assert torch.cat([*train, held_out]).sort().values.tolist() == list(range(40))
    again = [batch["image"][:, 0, 0, 0] for batch in data.train_dataloader()]
    assert all(torch.equal(a, b) for a, b in zip(train, again, strict=True))  # the same epoch
    loader = data.train_dataloader()
    loader.sampler.set_epoch(1)
    assert not torch.equal(next(iter(loader))["image"][:, 0, 0, 0], train[0])


def test_processes_share_the_batches_of_one() -> None:
    whole = list(ShuffledBatches(25, batch_size=6, seed=3))
    assert len(whole) == 4
    parts = [list(ShuffledBatches(25, batch_size=6, seed=3, rank=r, world_size=2)) for r in range(2)]
    for i, batch in enumerate(whole):
        assert torch.equal(torch.stack([part[i].positions for part in parts], 1).flatten(), batch.positions)
        assert {part[i].seed for part in parts} == {batch.seed}
    for size in (5, 1, 0):
        with pytest.raises(InputError, match=f"data.batch_size={size}"):
            ShuffledBatches(25, batch_size=size, seed=0, world_size=2)
    assert len(ShuffledBatches(3, batch_size=64, seed=0)) == 1  # fewer rows than a batch


def test_mirroring_alone() -> None:
    images = torch.arange(200 * 8).view(200, 1, 1, 8).to(torch.uint8)
    mirrored = flip_only(images, 7)
    same = (mirrored == images).flatten(1).all(1)
    other = (mirrored == images.flip(3)).flatten(1).all(1)
    assert (same ^ other).all()
    assert 60 < int(other.sum()) < 140  # a fair coin: 100 ± 7
    halves = [flip_only(images[r::2], 7, share=(r, 2), size=200) for r in range(2)]
    assert torch.equal(torch.stack(halves, 1).flatten(0, 1), mirrored)
