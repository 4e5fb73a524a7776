"""Every reader of weights, given pickles, TorchScript and options that ask for more memory than there is."""

import json
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from untrusted import Marker, opened_in_little_memory

from lfiw import InputError, RatioClassifier
from lfiw.features.inception import find_weights
from lfiw.features.resnet import ResNet56
from lfiw.features.small_classifier import Classifier, save_classifier
from lfiw.files import write_atomically
from lfiw.generators.generative_module import GenerativeModule
from lfiw.nets import build_net
from lfiw.schemas import SCHEMAS
from lfiw.tasks.augmentation.dagan_drawings import load_generator
from lfiw.tasks.ope.dynamics import DynamicsModel
from lfiw.tasks.ope.policy import Policy, load_policy
from lfiw.untrusted import built_for, network_file, read_checkpoint, read_weights

READERS: dict[str, Callable[[Path], Any]] = {
    "checkpoint": read_checkpoint,
    "ratio": RatioClassifier.load,
    "generator": GenerativeModule.load,
    "dynamics": DynamicsModel.load,
    "drawings": load_generator,
    "classifier": Classifier,
    "resnet56": lambda path: ResNet56((3, 32, 32), path),
    "inception": find_weights,
    "policy": load_policy,
}


def torch_pickle(path: Path, marker: Path) -> None:
    torch.save({"state_dict": {}, "x": Marker(marker)}, path)


def legacy_pickle(path: Path, marker: Path) -> None:
    torch.save({"x": Marker(marker)}, path, _use_new_zipfile_serialization=False)


def plain_pickle(path: Path, marker: Path) -> None:
    path.write_bytes(pickle.dumps(Marker(marker)))


def sac_zip(path: Path, marker: Path) -> None:
    plain_pickle(path, marker)
    content = path.read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("policy.pth", content)


class Script(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


def torchscript(path: Path, marker: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.script(Script()).save(str(path))


MALICIOUS = (torch_pickle, legacy_pickle, plain_pickle, sac_zip, torchscript)


@pytest.mark.parametrize("suffix", [".ckpt", ".pth", ".safetensors", ".zip"])
@pytest.mark.parametrize("reader", READERS)
def test_nothing_is_run(tmp_path: Path, reader: str, suffix: str) -> None:
    for write in MALICIOUS:
        file, marker = tmp_path / f"{write.__name__}{suffix}", tmp_path / "run"
        write(file, marker)
        with pytest.raises(InputError, match=file.name) as error:
            READERS[reader](file)
        assert "\n" not in str(error.value)
        assert not marker.exists(), (reader, write.__name__)


def test_torchscript_is_called_by_its_name(tmp_path: Path) -> None:
    torchscript(tmp_path / "a.pt", tmp_path)
    with pytest.raises(InputError, match="it is a TorchScript program, whose code is not run"):
        read_checkpoint(tmp_path / "a.pt")


def test_a_packed_checkpoint(tmp_path: Path) -> None:
    """`torch.save` stores; what is packed may unpack to anything."""
    torch.save({"w": torch.zeros(1000)}, tmp_path / "a.pt")
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as old,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(InputError, match=r"its content is packed, which torch.save does not do"):
        read_checkpoint(tmp_path / "b.pt")


MLP = asdict(SCHEMAS["model"]["mlp"]())  # type: ignore[index]
ABSURD = {
    "wide": {"width": 10**6, "depth": 2},
    "deep": {"width": 4, "depth": 10**9},
    "not numbers": {"width": "4", "depth": None},
    "negative": {"width": -4},
}


def test_options_that_ask_for_more_memory_than_there_is(tmp_path: Path) -> None:
    files = []
    for name, options in ABSURD.items():
        header = {"net": {**MLP, **options}, "shape": [1, 8, 8], "num_classes": 10, "num_features": 4}
        save_file(
            {"input.mean": torch.zeros(1), "input.std": torch.ones(1)}, tmp_path / name, {"lfiw": json.dumps(header)}
        )
        files.append(tmp_path / name)
    imports = "from lfiw.features.small_classifier import Classifier"
    lines = opened_in_little_memory(imports, "Classifier(argument)", *files)
    for line, file in zip(lines, files, strict=True):
        assert line.startswith(f"{file} does not hold a classifier: ")
    for line in lines[:2]:
        assert "its options ask for a network much larger than its 0 weights" in line


def test_a_view_of_one_number_is_not_a_network(tmp_path: Path) -> None:
    """A few bytes that claim to be 10^10 weights: the shapes fit, the storage does not."""
    state = {"w": torch.zeros(1).expand(10**5, 10**5)}
    torch.save(state, tmp_path / "a.pt")
    assert (tmp_path / "a.pt").stat().st_size < 10_000
    state = read_checkpoint(tmp_path / "a.pt")
    with pytest.raises(ValueError, match="much larger than its 1 weights"):
        built_for(state, lambda: torch.nn.Linear(10**5, 10**5, bias=False))


@pytest.mark.parametrize("about", ['{"kind": "lfiw.Policy"}', "[]", "3", "[" * 100_000, "{", '{"kind": []}'])
def test_policies_that_say_nonsense(tmp_path: Path, about: str) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors", {"policy": about})
    with pytest.raises(InputError, match=r"x\.safetensors (is not|does not hold|holds other)"):
        load_policy(tmp_path / "x.safetensors")


@pytest.mark.parametrize("sizes", [[], [1], [1, 2], ["1", 2, 3], [10**7, 10**7, 1], [1, 10**12, 1], [-1, 2, 3], None])
def test_policies_of_absurd_sizes(tmp_path: Path, sizes: Any) -> None:
    about = {"kind": "lfiw.Policy", "sizes": sizes, "activation": "tanh", "squashed": False}
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors", {"policy": json.dumps(about)})
    with pytest.raises(InputError, match=r"x\.safetensors is not a policy: ."):
        load_policy(tmp_path / "x.safetensors")


HEADERS = {
    "cut": b'{"a": {',
    "long": None,
    "offsets": {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 1 << 40]}},
    "shape": {"a": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 16]}},
    "overflow": {"a": {"dtype": "F32", "shape": [1 << 62, 4], "data_offsets": [0, 0]}},
    "hole": {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}},
    "twice": {n: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for n in "ab"},
}


@pytest.mark.parametrize("name", HEADERS)
def test_absurd_headers(tmp_path: Path, name: str) -> None:
    header = HEADERS[name]
    text = header if isinstance(header, bytes) else json.dumps(header or {}).encode()
    length = 1 << 50 if header is None else len(text)
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", length) + text + bytes(16))
    for reader in ("generator", "drawings", "classifier", "policy", "inception"):
        with pytest.raises(InputError, match=r"x\.safetensors.*safetensors") as error:
            READERS[reader](tmp_path / "x.safetensors")
        assert "\n" not in str(error.value)


def test_a_weight_of_another_shape_is_named(tmp_path: Path) -> None:
    """In each format, with both shapes, as torch does in the second line of its message."""
    policy = Policy((3, 8, 2))
    state = {**policy.state_dict(), "mean.bias": torch.zeros(5)}
    write_atomically(
        tmp_path / "p.safetensors", network_file("policy", {"kind": "lfiw.Policy", **policy.options()}, state)
    )
    torch.save({"policy": {"kind": "lfiw.Policy", **policy.options()}, "state_dict": state}, tmp_path / "p.ckpt")
    for name in ("p.safetensors", "p.ckpt"):
        with pytest.raises(InputError, match=rf"{name} is not a policy: mean\.bias has shape \(5,\), expected \(2,\)"):
            load_policy(tmp_path / name)


def test_a_description_that_lacks_something_is_named(tmp_path: Path) -> None:
    policy = Policy((3, 8, 2))
    about = {name: value for name, value in policy.options().items() if name != "squashed"}
    write_atomically(tmp_path / "p", network_file("policy", {"kind": "lfiw.Policy", **about}, policy.state_dict()))
    with pytest.raises(InputError, match="p is not a policy: no 'squashed'"):
        load_policy(tmp_path / "p")


def test_round_trips_are_as_before(tmp_path: Path) -> None:
    net = build_net(MLP, (1, 8, 8), outputs=10)
    shape: dict[str, Any] = {"shape": (1, 8, 8), "mean": torch.zeros(1), "std": torch.ones(1)}
    save_classifier(tmp_path / "c", net, MLP, **shape, num_features=MLP["width"], num_classes=10)
    read = Classifier(tmp_path / "c").net
    assert all(torch.equal(a, b) for a, b in zip(read.parameters(), net.parameters(), strict=True))
    Policy((3, 8, 2)).save(tmp_path / "p")
    assert load_policy(tmp_path / "p").sizes == (3, 8, 2)
    with pytest.raises(FileNotFoundError):
        read_weights(tmp_path / "none", "lfiw", "anything")
