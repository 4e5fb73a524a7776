"""Images to features."""

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lfiw import InputError
from lfiw.features import EXTRACTORS, Classifier, FeatureOptions, build_extractor
from lfiw.features.small_classifier import save_classifier
from lfiw.nets import build_net

OPTIONS = {"name": "mlp", "width": 6, "depth": 1, "dropout": 0.0, "activation": "relu", "spectral_norm": False}
SHAPE = (1, 4, 4)
IMAGES = torch.randint(256, (9, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
HEADER = {"net": OPTIONS, "shape": SHAPE, "num_features": 6, "num_classes": 3}


def make(path: Path, **change: Any) -> Any:
    torch.manual_seed(1)
    options = {**OPTIONS, **change}
    net = build_net(options, SHAPE, outputs=3).eval()
    mean, std = torch.full((1, 1, 1), 100.0), torch.full((1, 1, 1), 50.0)
    save_classifier(path, net, options, shape=SHAPE, mean=mean, std=std, num_features=6, num_classes=3)
    return net


def tensors() -> dict[str, torch.Tensor]:
    net = build_net(OPTIONS, SHAPE, outputs=3)
    return {**net.state_dict(), "input.mean": torch.zeros(1, 1, 1), "input.std": torch.ones(1, 1, 1)}


def test_pixels() -> None:
    pixels = build_extractor("pixels", SHAPE)
    assert (pixels.num_features, pixels.num_classes, pixels.key) == (16, None, "pixels")
    assert pixels.columns == {"features": "features/pixels"}
    features = pixels(IMAGES)["features"]
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, torch.from_numpy(IMAGES.numpy().reshape(9, 16) / 255).float())
    values = torch.randn(2, *SHAPE, dtype=torch.float64)
    assert torch.equal(pixels(values)["features"], values.flatten(1))  # no digit is lost


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_classifier_round_trip(tmp_path: Path, spectral_norm: bool) -> None:
    file = tmp_path / "new" / "c.safetensors"
    net = make(file, spectral_norm=spectral_norm)
    extractor = build_extractor("classifier", SHAPE, FeatureOptions(classifier_weights=file))
    assert not extractor.training
    out = extractor(IMAGES)
    standardised = (IMAGES.float() - 100) / 50
    torch.testing.assert_close(out["logits"], net(standardised))
    torch.testing.assert_close(out["features"], net.penultimate(standardised))
    assert extractor.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert extractor.columns == {
        "features": f"features/classifier-{extractor.sha256[:8]}",
        "logits": f"logits/classifier-{extractor.sha256[:8]}",
    }
    assert extractor.stamp["sha256"] == extractor.sha256
    assert (extractor.num_features, extractor.num_classes) == (6, 3)
    assert list(file.parent.iterdir()) == [file]


def test_other_weights_are_other_columns(tmp_path: Path) -> None:
    make(tmp_path / "a", activation="relu")
    make(tmp_path / "b", activation="silu")
    assert Classifier(tmp_path / "a").columns != Classifier(tmp_path / "b").columns


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('code was run')",))


def broken(path: Path, kind: str) -> None:
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("weights")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Malicious()))
    elif kind == "torch pickle":
        torch.save({"lfiw": Malicious()}, path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "truncated":
        make(path)
        path.write_bytes(path.read_bytes()[:-7])
    elif kind == "no header":
        save_file(tensors(), path)
    else:
        header: Any = {
            "broken header": "{",
            "header is a list": "[]",
            "unknown net": {**HEADER, "net": {**OPTIONS, "name": "foo"}},
            "unknown option": {**HEADER, "net": {**OPTIONS, "foo": 1}},
            "unknown activation": {**HEADER, "net": {**OPTIONS, "activation": "tanh"}},
            "other width": {**HEADER, "net": {**OPTIONS, "width": 7}},
            "other net": {**HEADER, "net": {"name": "conv4", "width": 8, "dropout": 0.0}},
            "no sizes": {"net": OPTIONS, "shape": SHAPE, "num_classes": 3},
            "no mean": HEADER,
        }[kind]
        state = tensors()
        if kind == "no mean":
            del state["input.mean"]
        save_file(state, path, {"lfiw": header if isinstance(header, str) else json.dumps(header)})


KINDS = ["empty", "text", "pickle", "torch pickle", "folder", "truncated", "no header", "broken header"]
KINDS += ["header is a list", "unknown net", "unknown option", "unknown activation", "other width", "other net"]
KINDS += ["no sizes", "no mean"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_holds_no_classifier(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "weights.safetensors"
    broken(file, kind)
    told = r"weights\.safetensors (does not hold a classifier: .|holds other weights than those of a classifier)"
    with pytest.raises(InputError, match=told) as error:
        Classifier(file)
    assert "\n" not in str(error.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file; features\.classifier_weights names"):
        Classifier(tmp_path / "missing")
    with pytest.raises(InputError, match=r"extractor classifier: set features\.classifier_weights"):
        build_extractor("classifier", SHAPE)


def test_unknown_extractor() -> None:
    with pytest.raises(InputError, match=f"no extractor 'foo'; extractors: {', '.join(EXTRACTORS)}"):
        build_extractor("foo", SHAPE)
