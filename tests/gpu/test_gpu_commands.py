"""Whole runs on a GPU, as a user starts them."""

import json
from pathlib import Path

import pytest
from devices import ACCELERATORS, CUDA, DEVICES
from integration.launch import QUICK, module

OPTIONS = [*QUICK, "trainer.max_epochs=2", "trainer.deterministic=true", "evaluation.permutations=0"]
OPTIONS += ["evaluation.intervals=false", "evaluation.balance=false", "data.num_generated=2000"]


def run(folder: Path, device: str, name: str, *options: str) -> dict[str, dict[str, float]]:
    """Weighting → its scores."""
    accelerator = f"trainer.accelerator={ACCELERATORS[device]}"
    module("train.py").train(
        [*OPTIONS, accelerator, f"data.folder={folder}/cache", f"run_dir={folder}/{name}", *options]
    )
    record = json.loads((folder / name / "evaluation.json").read_text())
    return {w["name"]: {m: score["value"] for m, score in w["metrics"].items()} for w in record["weightings"]}


@pytest.mark.parametrize("device", DEVICES)
def test_training_and_evaluation_in_deterministic_mode(device: str, tmp_path: Path) -> None:
    """Twice on the device, the second time with the rows read in every step: to the same bits; and as on the CPU."""
    found = run(tmp_path, device, "first")
    assert run(tmp_path, device, "second", f"data.device_resident={str(device == 'cpu').lower()}") == found
    if device != "cpu":
        expected = run(tmp_path, "cpu", "third")["uniform"]
        assert found["uniform"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("device", [CUDA])  # on a CPU, tests/integration/test_generators.py compiles
def test_compiled(device: str, tmp_path: Path) -> None:
    """In a process of its own: the type checks of these tests cannot be compiled."""
    from integration.launch import launch

    folder = [f"data.folder={tmp_path}/cache", f"run_dir={tmp_path}/compiled", "optimizer.compile=true"]
    code, out, err = launch("train.py", *OPTIONS, "trainer.accelerator=gpu", *folder, cwd=tmp_path)
    assert code == 0, out + err
    plain = run(tmp_path, device, "plain")
    compiled = json.loads((tmp_path / "compiled/evaluation.json").read_text())["weightings"][0]["metrics"]
    for name, score in compiled.items():
        assert score["value"] == pytest.approx(plain["uniform"][name], rel=1e-6)
