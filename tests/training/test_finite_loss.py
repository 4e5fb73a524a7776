"""A loss that is no number ends each training of ours by one line and a file with the rows of its batch."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import Tensor

from lfiw import InputError
from lfiw.data import CacheWriter, SampleCache, TensorTable
from lfiw.generators.generative_module import build_generative
from lfiw.generators.real_images import RealDataModule
from lfiw.ratio.classifier import RatioClassifier
from lfiw.ratio.mixed import MixedDataModule
from lfiw.schemas import SCHEMAS
from lfiw.schemas import Trainer as TrainerOptions
from lfiw.tasks.augmentation.drawing_classifier import AugmentationClassifier
from lfiw.tasks.augmentation.drawing_gan import DaGan
from lfiw.tasks.augmentation.drawing_sets import DrawingSetsDataModule
from lfiw.tasks.augmentation.omniglot import OmniglotDataModule
from lfiw.tasks.augmentation.regimes import TrainingRows
from lfiw.tasks.ope.dynamics import DynamicsModel, Transitions, TransitionsDataModule
from lfiw.training.callbacks import FiniteLoss
from lfiw.training.trainer import build_trainer, fit, quiet
from lfiw.weighting.losses import LOSSES

MLP = {"name": "mlp", "width": 8, "depth": 1, "dropout": 0.0, "activation": "silu"}
BAD_STEP = 3  # counted from 1; of five


def vectors(num: int, seed: int) -> Tensor:
    return torch.randn(num, 2, generator=torch.Generator().manual_seed(seed))


def images(num: int, side: int = 8, channels: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (num, channels, side, side), dtype=torch.uint8, generator=generator)


def cache(path: Path, **columns: Tensor) -> SampleCache:
    with CacheWriter(path) as writer:
        writer.write(columns)
    return SampleCache(path)


def ratio(folder: Path, loss: str = "logistic") -> tuple[LightningModule, LightningDataModule]:
    tables = cache(folder / "real", vector=vectors(100, 0)), cache(folder / "generated", vector=vectors(100, 1))
    fractions = {"train": 0.8, "validation": 0.2, "evaluation": 0.0}
    data = MixedDataModule(*tables, input="vector", fractions=fractions, batch_size=32)
    options = {"name": loss, **({"alpha": 0.2} if loss == "relative" else {})}
    return RatioClassifier(MLP, loss=options), data


def generator(name: str, **options: Any) -> Callable[[Path], tuple[LightningModule, LightningDataModule]]:
    def build(folder: Path) -> tuple[LightningModule, LightningDataModule]:
        data = RealDataModule(cache(folder / "real", image=images(90)), batch_size=16)
        schema = SCHEMAS["model"][name]  # type: ignore[index]
        return build_generative({**asdict(schema()), **options}, data.shape, {"lr": 1e-3}, 0), data

    return build


def augmentation(folder: Path) -> tuple[LightningModule, LightningDataModule]:
    label = torch.arange(4).repeat_interleave(6)
    real = cache(folder / "real", image=images(24, 28), label=label)
    generated = cache(folder / "generated", image=images(24, 28), label=label, parent=torch.arange(24))
    sizes = {"shots": 2, "validation_shots": 2, "test_shots": 2}
    data = OmniglotDataModule(real, generated, num_classes=4, **sizes, batch_size=8, steps_per_epoch=5)
    data.use(TrainingRows(True, torch.arange(8), torch.ones(8, dtype=torch.float64)))
    net = {"name": "conv4", "width": 8, "dropout": 0.0}
    module = AugmentationClassifier(net, {"lr": 1e-3, "weight_decay": 0.0, "schedule": "constant"},
                                    shape=(1, 28, 28), num_classes=4, mean=[0.5], std=[1.0])  # fmt: skip
    return module, data


def dagan(folder: Path) -> tuple[LightningModule, LightningDataModule]:
    table = cache(folder / "real", image=images(40), label=torch.arange(5).repeat_interleave(8))
    data = DrawingSetsDataModule(table, set_size=2, validation_classes=1, batch_size=4, steps_per_epoch=5)
    module = DaGan((1, 8, 8), width=8, noise=4, critic_width=8, set_size=2, lr=1e-4, critic_lr=1e-4, critic_steps=2,
                   penalty=10.0, ema_decay=0.9)  # fmt: skip
    return module, data


def dynamics(folder: Path) -> tuple[LightningModule, LightningDataModule]:
    values = vectors(100, 0)
    rows = Transitions(values, values[:, :1], values[:, 0], values + 1)
    options = {"linear_from": 100, "beta": 0.5, "members": 2, "width": 8, "depth": 1, "lr": 1e-3, "weight_decay": 0.0}
    return DynamicsModel(options), TransitionsDataModule(rows, rows, members=2, batch_size=20)


MODULES: dict[str, Callable[[Path], tuple[LightningModule, LightningDataModule]]] = {
    **{f"ratio, {name}": lambda folder, name=name: ratio(folder, name) for name in LOSSES},
    "augmentation": augmentation,
    "dagan": dagan,
    "sngan": generator("sngan", width=8, critic_width=8, latent=4, critic_steps=2),
    "pixelcnn": generator("pixelcnn", width=16, blocks=1, levels=1, mixtures=2),
    "vae": generator("vae", latent=2, width=8),
    "dynamics": dynamics,
}


def spoil(module: LightningModule, value: float, steps: list[Any]) -> None:
    """All weights of the module become `value` before its third step; the batches are kept."""
    step = module.training_step

    def spoiled(batch: Any, batch_idx: int) -> Any:
        steps.append(batch)
        if len(steps) == BAD_STEP:
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.fill_(value)
        return step(batch, batch_idx)

    module.training_step = spoiled  # type: ignore[method-assign]


def train(folder: Path, module: LightningModule, data: LightningDataModule) -> None:
    options = TrainerOptions(accelerator="cpu", max_epochs=1, progress=False)
    fit(build_trainer(options, folder, [], monitor=None), module, data, monitor=None)


@pytest.mark.parametrize("name", MODULES)
def test_each_training_stops_at_the_step_and_names_its_rows(tmp_path: Path, name: str) -> None:
    module, data = MODULES[name](tmp_path)
    batches: list[Any] = []
    spoil(module, float("nan"), batches)
    with pytest.raises(
        InputError, match=r"training diverged at step \d+ \(epoch 0, batch 2\): the loss is nan"
    ) as error:
        train(tmp_path, module, data)
    file = tmp_path / "not_finite.json"
    assert str(file) in str(error.value)
    assert "lower optimizer.lr" in str(error.value)
    assert "\n" not in str(error.value)
    assert len(batches) == BAD_STEP
    found = json.loads(file.read_text())
    assert (found["epoch"], found["batch"], found["loss"]) == (0, BAD_STEP - 1, "nan")
    assert not list(tmp_path.rglob("*.ckpt"))  # nothing is kept of what has diverged
    check_rows(name, tmp_path, batches[-1], found["rows"])


def check_rows(name: str, folder: Path, batch: Any, found: list[dict[str, Any]]) -> None:
    """The rows that the file names hold what the batch held."""
    if name == "dynamics":
        inputs, rows = batch[0], torch.tensor(found[0]["rows"]).view(2, -1)
        assert found[0]["table"] == "training transitions"
        torch.testing.assert_close(inputs[..., :2], vectors(100, 0)[rows])
        return
    column = "vector" if name.startswith("ratio") else "image"
    tables = [str(folder / side) for side in ("real", "generated")]
    assert [entry["table"] for entry in found] == tables[: len(found)]
    assert len(found) == (2 if name.startswith(("ratio", "augmentation")) else 1)
    read = [SampleCache(entry["table"]).read(entry["rows"], [column])[column] for entry in found]
    assert torch.equal(torch.cat(read), batch[column].view(-1, *read[0].shape[1:]))


def test_an_infinite_loss(tmp_path: Path) -> None:
    module, data = ratio(tmp_path)
    module.loss = lambda outputs, is_real: outputs.sum() * 0 + float("inf")  # type: ignore[assignment]
    with pytest.raises(InputError, match="the loss is inf"):
        train(tmp_path, module, data)
    assert json.loads((tmp_path / "not_finite.json").read_text())["loss"] == "inf"


@pytest.mark.parametrize("every", [1, 2, 50])
def test_losses_that_are_read_later_name_the_same_step(tmp_path: Path, every: int) -> None:
    """As on a GPU: up to 50 steps are not waited for, but nothing is kept of them unread."""
    module, data = ratio(tmp_path)
    batches: list[Any] = []
    spoil(module, float("nan"), batches)
    options = TrainerOptions(accelerator="cpu", max_epochs=1, progress=False)
    trainer = build_trainer(options, tmp_path, [], monitor=None)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, FiniteLoss):
            callback.every = every
    with pytest.raises(InputError, match="batch 2"):
        fit(trainer, module, data, monitor=None)
    assert len(batches) == {1: 3, 2: 4, 50: 5}[every]
    assert not list(tmp_path.rglob("*.ckpt"))
    found = json.loads((tmp_path / "not_finite.json").read_text())["rows"]
    check_rows("ratio", tmp_path, batches[BAD_STEP - 1], found)


def test_a_step_that_a_gradient_scaler_skips_is_none(tmp_path: Path) -> None:
    """Gradients overflow at a scale of 2^127 although the loss is finite: the scaler halves it and continues."""
    quiet()
    module, data = ratio(tmp_path)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=1000)
    precision = MixedPrecision("16-mixed", "cpu", scaler=scaler)
    trainer = Trainer(
        accelerator="cpu", max_epochs=3, plugins=[precision], callbacks=[FiniteLoss(tmp_path)], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        limit_val_batches=0, use_distributed_sampler=False,
    )  # fmt: skip
    fit(trainer, module, data, monitor=None)
    assert scaler.get_scale() < 2.0**127  # some steps were skipped
    assert trainer.current_epoch == 3
    assert not (tmp_path / "not_finite.json").exists()


def test_rows_in_memory(tmp_path: Path) -> None:
    tables = [TensorTable({"vector": vectors(60, seed)}) for seed in (0, 1)]
    data = MixedDataModule(*tables, input="vector", fractions={"train": 0.8, "validation": 0.2, "evaluation": 0.0})
    module = RatioClassifier(MLP)
    module.loss = lambda outputs, is_real: outputs.sum() * float("nan")  # type: ignore[assignment]
    with pytest.raises(InputError, match="the loss is nan"):
        train(tmp_path, module, data)
    assert [entry["table"] for entry in json.loads((tmp_path / "not_finite.json").read_text())["rows"]] == [
        "in memory"
    ] * 2
