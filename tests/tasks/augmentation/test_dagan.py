"""The data augmentation GAN: its penalty, its average, and a few steps."""

from pathlib import Path
from typing import Any

import pytest
import torch
from drawings import write_real
from torch import nn

from lfiw import InputError
from lfiw.schemas import Trainer
from lfiw.tasks.augmentation.dagan_drawings import generate, import_generated, load_generator
from lfiw.tasks.augmentation.drawing_gan import DaGan, difference, gradient_penalty, save_generator
from lfiw.tasks.augmentation.drawing_sets import DrawingSetsDataModule
from lfiw.training.trainer import build_trainer, fit

SMALL: dict[str, Any] = {
    "width": 8, "noise": 4, "critic_width": 4, "set_size": 3, "lr": 1e-3, "critic_lr": 1e-3,
    "critic_steps": 2, "penalty": 10.0, "ema_decay": 0.9,
}  # fmt: skip


def test_penalty_of_a_linear_critic() -> None:
    """D(x) = a·x has the gradient a everywhere: (‖a‖ − 1)²."""
    linear = nn.Sequential(nn.Flatten(), nn.Linear(2 * 3 * 3, 1, bias=False), nn.Flatten(0))
    with torch.no_grad():
        linear[1].weight.fill_(0.5)
    found = gradient_penalty(linear, torch.rand(5, 2, 3, 3))
    assert found.item() == pytest.approx((0.5 * 18**0.5 - 1) ** 2, rel=1e-5)
    found.backward()  # differentiable with respect to the critic
    assert linear[1].weight.grad is not None


def test_difference_is_a_share_of_the_ink() -> None:
    a, b = torch.zeros(1, 2, 2), torch.zeros(1, 2, 2)
    a[0, 0, 0], b[0, 1, 1] = 1, 1
    assert difference(a, b).item() == 1
    assert difference(a, a).item() == 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DaGan, DrawingSetsDataModule]:
    folder = tmp_path_factory.mktemp("dagan")
    table = write_real(folder / "real")
    data = DrawingSetsDataModule(table, set_size=3, validation_classes=2, batch_size=4, steps_per_epoch=4)
    module = DaGan(data.image_shape, **SMALL, grids=folder / "grids")
    options = Trainer(accelerator="cpu", max_epochs=2, patience=0, progress=False)
    fit(build_trainer(options, folder, [], monitor=None), module, data)
    return folder, module, data


def test_steps_checkpoints_and_grids(trained: tuple[Path, DaGan, DrawingSetsDataModule]) -> None:
    folder, module, data = trained
    assert module.updates == 4  # 8 batches, every second
    assert sorted(f.name for f in (folder / "grids").iterdir()) == ["epoch0000.png", "epoch0001.png"]
    assert [f.name for f in (folder / "checkpoints").iterdir()] == ["last.ckpt"]
    fresh = DaGan(data.image_shape, **SMALL)
    for name, before in fresh.state_dict().items():
        if name.startswith(("generator.", "critic.")) and before.ndim > 1:
            assert not torch.equal(before, module.state_dict()[name]), name


def test_the_average_is_that_of_the_weights(trained: tuple[Path, DaGan, DrawingSetsDataModule]) -> None:
    """min(decay, n/(10 + n)) of what was kept, n updates, against a plain loop over one weight."""
    _, _, data = trained
    module = DaGan(data.image_shape, **SMALL)
    weight, kept = module.generator.contrast, module.average.contrast
    expected = kept.detach().clone()
    for n in range(1, 5):
        with torch.no_grad():
            weight += n
        module.update_average()
        decay = min(0.9, n / (10 + n))
        expected = decay * expected + (1 - decay) * weight.detach()
        torch.testing.assert_close(kept.detach(), expected)


def test_a_generator_is_the_same_from_its_file_and_from_the_checkpoint(
    trained: tuple[Path, DaGan, DrawingSetsDataModule], tmp_path: Path
) -> None:
    folder, module, data = trained
    file = tmp_path / "generator.safetensors"
    save_generator(file, module.average, module.generator_options)
    images = data.table["image"][:5]
    expected = generate(module.average, images, 3, seed=1)
    for path in (file, folder / "checkpoints" / "last.ckpt"):
        assert torch.equal(generate(load_generator(path), images, 3, seed=1), expected)
    assert not torch.equal(generate(module.average, images, 3, seed=2), expected)


def test_generated_rows_name_their_parents(trained: tuple[Path, DaGan, DrawingSetsDataModule], tmp_path: Path) -> None:
    folder, _, data = trained
    imported = import_generated(folder / "checkpoints" / "last.ckpt", folder / "real", 2, seed=0)
    block = {name: torch.cat(parts) for name, parts in _columns(list(imported.blocks())).items()}
    assert block["parent"].tolist() == [row for row in range(len(data.table)) for _ in range(2)]
    assert torch.equal(block["label"], data.table["label"][block["parent"]])
    assert block["image"].shape == (2 * len(data.table), 1, 16, 16)
    assert imported.source["given"] == data.table.identity  # type: ignore[attr-defined]


def _columns(blocks: list[dict[str, torch.Tensor]]) -> dict[str, list[torch.Tensor]]:
    return {name: [block[name] for block in blocks] for name in blocks[0]}


def test_what_is_no_generator(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist: give a checkpoint of task=dagan"):
        load_generator(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="does not hold a drawing generator"):
        load_generator(tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    ("shape", "told"), [((3, 16, 16), r"takes drawings \(1, n, n\)"), ((1, 18, 18), "divisible by 4")]
)
def test_drawings_that_cannot_be(shape: tuple[int, ...], told: str) -> None:
    with pytest.raises(InputError, match=told):
        DaGan(shape, **SMALL)
