"""Each training on a GPU: as on the CPU, to the same bits when it resumes, and without a wait in any step."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from devices import ACCELERATORS, CUDA, DEVICES
from pytorch_lightning import Callback
from torch import Tensor
from trainings import NAMES, build, check_same, everything, numbers, run

from lfiw.data import TensorTable
from lfiw.ratio.classifier import RatioClassifier
from lfiw.ratio.mixed import MixedDataModule
from lfiw.schemas import MLP, Optimizer, ResNet, Trainer
from lfiw.training.processes import leave_processes
from lfiw.training.trainer import build_trainer, fit
from lfiw.untrusted import read_checkpoint

# grid_sample has no deterministic backward pass on a GPU: the DAGAN bends drawings by it
DETERMINISTIC = [name for name in NAMES if name != "dagan"]
QUICK = ("ratio", "sngan")  # on a CPU, where others test the rest


def on(devices: list[Any], names: list[str]) -> list[Any]:
    """Pairs of device and name; on the CPU only the quick ones."""
    pairs = []
    for device in devices:
        kept = names if device is CUDA else [name for name in names if name in QUICK]
        values, marks = (device.values[0], device.marks) if device is CUDA else (device, ())
        pairs += [pytest.param(values, name, marks=marks) for name in kept]
    return pairs


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [value for line in lines for name, value in line.items() if name.startswith("train/")]


@pytest.mark.parametrize(("device", "name"), on(DEVICES, list(NAMES)))
def test_training_starts_as_on_the_cpu(device: str, name: str, tmp_path: Path) -> None:
    """The losses of the first epoch, in which rounding has not yet grown."""
    found = []
    for place in ("cpu", device):
        folder = tmp_path / f"{place} {len(found)}"
        folder.mkdir()
        run(name, folder, accelerator=ACCELERATORS[place], max_epochs=1)
        found.append(losses(folder))
    expected, got = found
    assert len(expected) == len(got) > 0
    # dropout's masks differ from device to device: only that training works is tested for those that have some
    tolerance = 0.5 if name in ("ratio", "augmentation", "pixelcnn") and device != "cpu" else 1e-2
    assert got == pytest.approx(expected, rel=tolerance)


class Crash(RuntimeError):
    pass


class CrashAt(Callback):
    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.fit_loop.total_batch_idx + 1 >= 8:
            raise Crash


@pytest.mark.parametrize(("device", "name"), on(DEVICES, DETERMINISTIC))
def test_a_crash_changes_no_bit(device: str, name: str, tmp_path: Path) -> None:
    """In the middle of an epoch, in deterministic mode."""
    options: dict[str, Any] = {"accelerator": ACCELERATORS[device], "deterministic": True}
    straight, crashed = tmp_path / "straight", tmp_path / "crashed"
    for folder in (straight, crashed):
        folder.mkdir()
    run(name, straight, **options)
    with pytest.raises(Crash):
        run(name, crashed, checkpoint_steps=2, callbacks=[CrashAt()], **options)
    run(name, crashed, resume=True, checkpoint_steps=2, **options)
    check_same(everything(crashed), everything(straight))


@pytest.mark.parametrize("device", DEVICES)
def test_a_run_moves_between_devices(device: str, tmp_path: Path) -> None:
    for epochs, place in enumerate((device, "cpu", device), start=1):
        run("ratio", tmp_path, resume=epochs > 1, accelerator=ACCELERATORS[place], max_epochs=epochs)
        last = read_checkpoint(tmp_path / "checkpoints/last.ckpt", "cpu")
        assert last["epoch"] == epochs - 1
    classifier = RatioClassifier.load(tmp_path / "checkpoints/best.ckpt", device)
    found = classifier.log_ratio(numbers(20, 2))
    assert (found.device.type, found.dtype) == ("cpu", torch.float64)
    assert found.isfinite().all()


class NoWaiting(Callback):
    """Makes torch refuse to wait for the GPU from the first step of the second epoch to the last."""

    def __init__(self) -> None:
        self.steps = 0

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.current_epoch == 1:
            self.steps += 1
            set_mode("error")

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.is_last_batch:
            set_mode("default")

    def on_exception(self, *_: Any) -> None:
        set_mode("default")


def set_mode(mode: str) -> None:
    if torch.cuda.is_available():
        torch.cuda.set_sync_debug_mode(mode)


@pytest.mark.parametrize(
    ("device", "name"), on(DEVICES, [name for name in NAMES if name in ("ratio", "sngan", "pixelcnn", "vae")])
)
def test_no_step_waits_for_the_device(device: str, name: str, tmp_path: Path) -> None:
    callback = NoWaiting()
    run(name, tmp_path, accelerator=ACCELERATORS[device], max_epochs=2, callbacks=[callback])
    assert callback.steps > 2


def ratio(resident: bool | None) -> tuple[RatioClassifier, MixedDataModule]:
    """A network of images, whose batches are cropped and mirrored."""

    def pixels(num: int, seed: int) -> Tensor:
        return torch.randint(256, (num, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))

    tables = TensorTable({"image": pixels(100, 0)}), TensorTable({"image": pixels(80, 1) // 2})
    data = MixedDataModule(*tables, batch_size=16, augment="crop_flip", device_resident=resident)
    return RatioClassifier(asdict(ResNet(width=8, stages=2)), asdict(Optimizer())), data


def trained(folder: Path, device: str, resident: bool | None, **options: Any) -> list[Any]:
    """The weights, and val/log_loss."""
    module, data = ratio(resident)
    chosen = Trainer(accelerator=ACCELERATORS[device], max_epochs=2, progress=False, **options)
    trainer = build_trainer(chosen, folder, [])
    fit(trainer, module, data)
    return [dict(module.cpu().state_dict()), float(trainer.callback_metrics["val/log_loss"])]


@pytest.mark.parametrize("device", DEVICES)
def test_rows_on_the_device_change_no_bit(device: str, tmp_path: Path) -> None:
    """Against batches that are read, and on a GPU copied ahead."""
    kept = [trained(tmp_path / str(r), device, r, deterministic=True) for r in (False, True)]
    check_same(*kept)
    assert kept[0][1] < math.log(2)


@pytest.mark.parametrize("device", DEVICES)
def test_mixed_precision(device: str, tmp_path: Path) -> None:
    """bfloat16 keeps 8 bits: the loss agrees to a few hundredths."""
    whole, half = (trained(tmp_path / p, device, None, precision=p)[1] for p in ("32-true", "bf16-mixed"))
    assert half == pytest.approx(whole, abs=0.05)


@pytest.mark.parametrize("device", DEVICES)
def test_one_process_of_ddp(device: str, tmp_path: Path) -> None:
    """By NCCL on a GPU: what the processes agree on goes by gloo, and a mean over one process changes nothing."""
    alone = trained(tmp_path / "alone", device, None, deterministic=True)
    try:
        check_same(trained(tmp_path / "ddp", device, None, deterministic=True, strategy="ddp"), alone)
    finally:
        leave_processes()


@pytest.mark.parametrize("device", DEVICES)
def test_the_average_lies_where_the_weights_are(device: str, tmp_path: Path) -> None:
    training = build("ratio", tmp_path, accelerator=ACCELERATORS[device], max_epochs=1)
    average: Any = next(callback for callback in training.trainer.callbacks if hasattr(callback, "decay"))
    fit(training.trainer, training.module, training.data)
    places = {value.device.type for value in average._average_model.state_dict().values()}
    assert places == {device}


@pytest.mark.parametrize("device", DEVICES)
def test_new_samples(device: str) -> None:
    torch.manual_seed(0)
    spec = {"column": "vector", "shape": (5,), "dtype": "torch.float32", "mean": [0.5] * 5, "std": [2.0] * 5}
    classifier = RatioClassifier(asdict(MLP(width=16)), spec=spec, counts=(1, 1))
    rows = numbers(2500, 5)
    expected = classifier.log_ratio(rows)
    torch.testing.assert_close(classifier.to(device).log_ratio(rows), expected, rtol=1e-5, atol=1e-6)
