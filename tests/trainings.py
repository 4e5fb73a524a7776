"""A small training of each module that trains: data, module, and trainer."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningDataModule, Trainer
from torch import Tensor

from lfiw.data import TensorTable
from lfiw.generators.generative_module import build_generative
from lfiw.generators.real_images import RealDataModule
from lfiw.ratio.classifier import RatioClassifier
from lfiw.ratio.mixed import MixedDataModule
from lfiw.schemas import MLP, SNGAN, VAE, Optimizer, PixelCNN
from lfiw.schemas import Trainer as TrainerOptions
from lfiw.tasks.augmentation.character_embedding import CharacterEmbedding, SourceDrawings
from lfiw.tasks.augmentation.drawing_classifier import AugmentationClassifier
from lfiw.tasks.augmentation.drawing_gan import DaGan
from lfiw.tasks.augmentation.drawing_sets import DrawingSetsDataModule
from lfiw.tasks.augmentation.omniglot import OmniglotDataModule
from lfiw.tasks.augmentation.regimes import TrainingRows
from lfiw.tasks.ope.dynamics import DynamicsModel, Transitions, TransitionsDataModule
from lfiw.training.tracking import JsonLines
from lfiw.training.trained_module import TrainedModule
from lfiw.training.trainer import build_trainer, fit, last_checkpoint
from lfiw.untrusted import read_checkpoint

SEED = 3
ADAMW = {**asdict(Optimizer()), "schedule": "cosine"}
NAMES = ("ratio", "augmentation", "embedding", "dagan", "sngan", "pixelcnn", "vae", "dynamics")
IN_SEVERAL_PROCESSES = ("ratio", "augmentation", "pixelcnn", "vae", "dynamics")
GENERATORS = {
    "sngan": SNGAN(latent=4, width=8, critic_width=8, critic_steps=2),
    "pixelcnn": PixelCNN(width=4, blocks=1, levels=1, mixtures=2, dropout=0.5),
    "vae": VAE(latent=3, width=8, mixtures=2),
}


@dataclass
class Training:
    """What `fit` takes."""

    trainer: Trainer
    module: TrainedModule
    data: LightningDataModule
    monitor: str | None


def ratio() -> tuple[TrainedModule, LightningDataModule]:
    real, generated = numbers(113, 2), numbers(90, 2, 1) + 0.5
    tables = (TensorTable({"vector": real}), TensorTable({"vector": generated}))
    data = MixedDataModule(*tables, input="vector", batch_size=16, evaluation_batch_size=7, seed=SEED)
    return RatioClassifier(asdict(MLP(width=8, depth=1, dropout=0.3)), {**ADAMW, "lr": 0.2}, seed=SEED), data


def augmentation() -> tuple[TrainedModule, LightningDataModule]:
    labels = torch.arange(3).repeat_interleave(8)
    real = TensorTable({"image": pixels(24, (1, 16, 16)), "label": labels})
    parent = torch.arange(24).repeat(2)
    generated = TensorTable({"image": pixels(48, (1, 16, 16), 1), "label": labels[parent], "parent": parent})
    data = OmniglotDataModule(
        real, generated, num_classes=0, shots=3, validation_shots=3, test_shots=2, batch_size=8, steps_per_epoch=5,
        evaluation_batch_size=4, augment="affine", seed=SEED,
    )  # fmt: skip
    num = len(data.generated)
    weights = torch.linspace(0.5, 1.5, num, dtype=torch.float64)
    data.use(TrainingRows(True, torch.arange(num), weights, drawn=True))
    net = {"name": "conv4", "width": 4, "dropout": 0.3, "norm": "batch"}
    module = AugmentationClassifier(
        net, ADAMW, shape=(1, 16, 16), num_classes=3, mean=[127.0], std=[70.0], coefficient=0.5, seed=SEED
    )
    return module, data


def embedding() -> tuple[TrainedModule, LightningDataModule]:
    labels = torch.arange(3).repeat_interleave(8)
    table = TensorTable({"image": pixels(24, (1, 16, 16)), "label": labels})
    data = SourceDrawings(table, torch.arange(2), torch.arange(3), batch_size=3, augment="affine", seed=SEED)
    options = {"width": 4, "features": 4, "mean": data.mean, "std": data.std, "optimizer": ADAMW}
    return CharacterEmbedding((1, 16, 16), 2, **options, seed=SEED), data


def dagan() -> tuple[TrainedModule, LightningDataModule]:
    table = TensorTable({"image": pixels(24, (1, 16, 16)), "label": torch.arange(4).repeat_interleave(6)})
    data = DrawingSetsDataModule(table, set_size=3, validation_classes=1, batch_size=2, steps_per_epoch=5, seed=SEED)
    module = DaGan(
        data.image_shape, width=8, noise=4, critic_width=4, set_size=3, lr=1e-3, critic_lr=1e-3, critic_steps=2,
        penalty=10.0, ema_decay=0.9, seed=SEED,
    )  # fmt: skip
    return module, data


def generator(name: str) -> tuple[TrainedModule, LightningDataModule]:
    table = TensorTable({"image": pixels(62, (1, 8, 8))})
    data = RealDataModule(table, batch_size=10, evaluation_batch_size=5, validation=0.18, augment="flip", seed=SEED)
    options = {**ADAMW, "weight_decay": 0.0}
    return build_generative(asdict(GENERATORS[name]), (1, 8, 8), options, SEED), data


def dynamics() -> tuple[TrainedModule, LightningDataModule]:
    parts = [
        Transitions(numbers(n, 2, n), numbers(n, 1, n + 1), numbers(n, 1, n + 2)[:, 0], numbers(n, 2, n + 3))
        for n in (83, 31)
    ]
    options = {"linear_from": 100, "beta": 0.5, "members": 2, "width": 8, "depth": 1, "lr": 0.01, "weight_decay": 1e-3}
    return DynamicsModel(options, SEED), TransitionsDataModule(*parts, members=2, batch_size=16, seed=SEED)


def numbers(num: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(num, size, generator=torch.Generator().manual_seed(seed))


def pixels(num: int, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (num, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


MONITORS = {"augmentation": "val/accuracy", "embedding": None, "dagan": None, "sngan": None}
MONITORS |= {"pixelcnn": "val/bits_per_dim", "vae": "val/bits_per_dim"}
EMA = {"ratio": 0.9, "augmentation": 0.9, "sngan": 0.9, "pixelcnn": 0.9, "vae": 0.9}


def build(
    name: str,
    folder: Path,
    *,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Any] | None = None,
    resumed: bool = False,
    **options: Any,
) -> Training:
    """The same at each call: what comes out of it depends on nothing else."""
    torch.manual_seed(torch.seed() % 2**32)  # nothing may depend on the global random numbers
    if name in GENERATORS:
        module, data = generator(name)
    else:
        made = {"ratio": ratio, "augmentation": augmentation, "embedding": embedding, "dagan": dagan}
        module, data = {**made, "dynamics": dynamics}[name]()
    monitor = MONITORS.get(name, "val/log_loss")
    chosen = TrainerOptions(**{"accelerator": "cpu", "max_epochs": 3, "patience": 0, "progress": False, **options})
    trainer = build_trainer(
        chosen,
        folder,
        [JsonLines(folder / "metrics.jsonl", resumed=resumed)] if loggers is None else loggers,
        ema_decay=EMA.get(name, 0.0),
        callbacks=callbacks,
        monitor=monitor,
        mode="max" if monitor == "val/accuracy" else "min",
    )
    return Training(trainer, module, data, monitor)


def run(name: str, folder: Path, resume: bool = False, **options: Any) -> None:
    training = build(name, folder, resumed=resume, **options)
    checkpoint = last_checkpoint(folder / "checkpoints", "yes" if resume else None)
    fit(training.trainer, training.module, training.data, checkpoint, training.monitor)


def everything(folder: Path) -> dict[str, Any]:
    """What a training leaves, but for paths."""
    kept: dict[str, Any] = {"log": (folder / "metrics.jsonl").read_text().splitlines()}
    for file in sorted((folder / "checkpoints").iterdir()):
        checkpoint = read_checkpoint(file)
        for name in ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers"):
            kept[f"{file.name} {name}"] = checkpoint.get(name)
        kept[f"{file.name} progress"] = (checkpoint["epoch"], checkpoint["global_step"])
    return kept


def check_same(found: Any, expected: Any, name: str = "") -> None:
    if isinstance(expected, torch.Tensor):
        assert found.equal(expected), name
    elif isinstance(expected, dict):
        assert list(found) == list(expected), name
        for key, value in expected.items():
            check_same(found[key], value, f"{name} {key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), (name, found, expected)
        for i, (a, b) in enumerate(zip(found, expected, strict=True)):
            check_same(a, b, f"{name} {i}")
    else:
        assert found == expected, name
