"""Checkpoints: whole or absent, and data alone."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from lfiw import InputError
from lfiw.ratio.classifier import write_calibrator
from lfiw.training.trainer import AtomicCheckpointIO
from lfiw.untrusted import read_checkpoint
from lfiw.weighting.calibration import Temperature

IO = AtomicCheckpointIO()
CONTENT = {"state_dict": {"w": torch.arange(6.0).view(2, 3)}, "epoch": 3, "shape": (1, 2), "name": "x", "none": None}


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('code was run')",))


def test_round_trip(tmp_path: Path) -> None:
    file = tmp_path / "sub" / "last.ckpt"
    IO.save_checkpoint(CONTENT, file)
    read = IO.load_checkpoint(file)
    assert torch.equal(read.pop("state_dict")["w"], CONTENT["state_dict"]["w"])  # type: ignore[index]
    assert read == {name: value for name, value in CONTENT.items() if name != "state_dict"}
    assert list(file.parent.iterdir()) == [file]
    IO.remove_checkpoint(file)
    IO.remove_checkpoint(file)
    assert not file.exists()


def test_a_checkpoint_of_a_gpu_is_read_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "last.ckpt"
    monkeypatch.setattr("torch.serialization.location_tag", lambda storage: "cuda:0")  # what torch writes there
    IO.save_checkpoint(CONTENT, file)
    assert IO.load_checkpoint(file)["state_dict"]["w"].equal(CONTENT["state_dict"]["w"])  # type: ignore[index]
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="CUDA"):
            read_checkpoint(file)


def test_what_cannot_be_saved_leaves_the_previous_one(tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    IO.save_checkpoint(CONTENT, file)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        IO.save_checkpoint({"local": lambda: None}, file)
    assert IO.load_checkpoint(file)["epoch"] == 3
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("weights_only", [None, False, True])
def test_code_is_not_run(tmp_path: Path, weights_only: bool | None) -> None:
    torch.save({"state_dict": {}, "x": Malicious()}, tmp_path / "torch.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Malicious()))
    for name in ("torch", "plain"):
        with pytest.raises(InputError, match=f"{name}.ckpt cannot be read as a checkpoint: .") as error:
            IO.load_checkpoint(tmp_path / f"{name}.ckpt", weights_only=weights_only)
        assert "\n" not in str(error.value)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.ckpt does not exist"):
        IO.load_checkpoint(tmp_path / "none.ckpt")


def test_truncated_anywhere(tmp_path: Path) -> None:
    file = tmp_path / "x.ckpt"
    IO.save_checkpoint(CONTENT, file)
    whole = file.read_bytes()
    for length in [*range(8), *range(8, len(whole) - 1, 97), len(whole) - 1]:
        file.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cannot be read as a checkpoint: .") as error:
            read_checkpoint(file)
        assert "\n" not in str(error.value)


def test_a_calibrator_changes_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "best.ckpt"
    IO.save_checkpoint({**CONTENT, "classifier": {"kind": "x"}}, file)
    write_calibrator(file, Temperature(0.5))
    read = read_checkpoint(file)
    assert read.pop("classifier") == {"kind": "x", "calibrator": {"name": "temperature", "inverse": 0.5}}
    assert torch.equal(read.pop("state_dict")["w"], CONTENT["state_dict"]["w"])  # type: ignore[index]
    assert read == {name: value for name, value in CONTENT.items() if name != "state_dict"}
    write_calibrator(file, None)
    assert read_checkpoint(file)["classifier"]["calibrator"] is None


def test_a_calibrator_that_cannot_be_written_leaves_the_previous_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "best.ckpt"
    IO.save_checkpoint({**CONTENT, "classifier": {}}, file)
    before = file.read_bytes()

    def stopped(checkpoint: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_calibrator(file, Temperature(0.5))
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read as a checkpoint: "):
        read_checkpoint(tmp_path)
