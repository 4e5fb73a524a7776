"""Networks of timm and torchvision against the libraries' own transforms and forward passes, with random weights."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn
from torchvision import models
from torchvision.transforms import v2

from lfiw.errors import InputError
from lfiw.features import FeatureOptions, build_extractor
from lfiw.untrusted import state_sha256

SHAPE = (3, 32, 32)
IMAGES = torch.randint(0, 256, (6, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
TIMM, TORCHVISION = "test_efficientnet", "shufflenet_v2_x0_5"


def random_weights(net: nn.Module) -> nn.Module:
    """Running statistics too, that a network which ignores them is found out."""
    g = torch.Generator().manual_seed(1)
    for name, values in net.state_dict().items():
        if name.endswith("running_var"):
            values.copy_(0.5 + torch.rand(values.shape, generator=g))
        elif name.endswith("running_mean"):
            values.copy_(0.1 * torch.randn(values.shape, generator=g))
        elif values.is_floating_point() and values.ndim > 1:
            values.copy_(torch.randn(values.shape, generator=g) / values[0].numel() ** 0.5)
    return net.eval()


@pytest.fixture(scope="module")
def of_timm() -> Any:
    return random_weights(timm.create_model(TIMM))


@pytest.fixture(scope="module")
def of_torchvision() -> Any:
    return random_weights(models.get_model(TORCHVISION))


@pytest.fixture(scope="module")
def files(of_timm: nn.Module, of_torchvision: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("weights")
    save_file(of_timm.state_dict(), folder / "timm.safetensors")
    torch.save({"state_dict": {f"module.{k}": v for k, v in of_torchvision.state_dict().items()}}, folder / "tv.pth")
    return [f"timm:{TIMM}={folder / 'timm.safetensors'}", f"torchvision-{TORCHVISION}={folder / 'tv.pth'}"]


def pictures() -> list[Image.Image]:
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in IMAGES]


def close(found: Tensor, expected: Tensor) -> None:
    # a pixel in a thousand is rounded to the next byte by one of the two resizes
    assert found.shape == expected.shape
    assert (found - expected).norm() < 3e-3 * expected.norm()


def test_timm_with_its_own_preprocessing(of_timm: Any, files: list[str]) -> None:
    extractor = build_extractor(f"timm:{TIMM}", SHAPE, FeatureOptions(files=files))
    config = timm.data.config.resolve_data_config({}, model=of_timm)
    assert config["interpolation"] == "bicubic"
    transform: Any = create_transform(**{**config, "crop_mode": "squash", "crop_pct": 1.0})  # resized as a whole
    with torch.inference_mode():
        x = torch.stack([transform(picture) for picture in pictures()])
        close(extractor(IMAGES)["features"], of_timm.forward_head(of_timm.forward_features(x), pre_logits=True))
    assert extractor.num_features == of_timm.num_features
    rest = {k: v for k, v in of_timm.state_dict().items() if not k.startswith("classifier.")}
    assert extractor.sha256 == state_sha256(rest)
    assert extractor.columns == {"features": f"features/timm-{TIMM}-{extractor.sha256[:8]}"}
    assert extractor.stamp["name"] == f"timm-{TIMM}"
    assert "bicubic resize to 160×160" in extractor.stamp["preprocessing"]


def test_torchvision_with_its_own_preprocessing(of_torchvision: Any, files: list[str]) -> None:
    extractor = build_extractor(f"torchvision-{TORCHVISION}", SHAPE, FeatureOptions(files=files))
    steps = [v2.Resize((224, 224)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    transform = v2.Compose([*steps, v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
    found: list[Tensor] = []
    of_torchvision.fc.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    with torch.inference_mode():
        of_torchvision(torch.stack([transform(picture) for picture in pictures()]))
    close(extractor(IMAGES)["features"], found[0])
    assert extractor.num_features == 1024


def test_grey_images_and_blocks(files: list[str]) -> None:
    extractor = build_extractor(f"timm-{TIMM}", (1, 28, 28), FeatureOptions(files=files))
    grey = IMAGES[:, :1, :28, :28].contiguous()
    expected = extractor(grey.expand(-1, 3, -1, -1))["features"]
    torch.testing.assert_close(extractor(grey)["features"], expected)
    torch.testing.assert_close(torch.cat([extractor(row)["features"] for row in grey.split(1)]), expected)


def test_weights_of_timms_cache(of_timm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        InputError, match=r"no weights, and none are downloaded: expected .*model\.safetensors"
    ) as error:
        build_extractor(f"timm:{TIMM}", SHAPE)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)
    repository = tmp_path / f"models--timm--{TIMM}.r160_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc").mkdir(parents=True)
    save_file(of_timm.state_dict(), repository / "snapshots" / "abc" / "model.safetensors")
    extractor = build_extractor(f"timm:{TIMM}", SHAPE)
    with torch.inference_mode():
        assert extractor(IMAGES)["features"].shape == (6, 256)


def test_weights_of_torchs_cache(of_torchvision: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError, match=rf"expected {tmp_path}.*/checkpoints/shufflenetv2_x0\.5-f707e7126e\.pth"):
        build_extractor(f"torchvision:{TORCHVISION}", SHAPE)
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    torch.save(of_torchvision.state_dict(), tmp_path / "hub/checkpoints/shufflenetv2_x0.5-f707e7126e.pth")
    assert build_extractor(f"torchvision:{TORCHVISION}", SHAPE).num_features == 1024


def test_mistakes_are_one_line(files: list[str], tmp_path: Path) -> None:
    other = files[1].partition("=")[2]
    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "text.safetensors").write_text("no weights")
    cases = [
        ("timm:test_eficientnet", files, r"no such model, did you mean test_efficientnet\?"),
        (f"timm:{TIMM}.nothing", files, "nvalid pretrained tag"),
        ("torchvision:shufflenet", files, "no such classifier"),
        ("torchvision:get_model", files, "no such classifier"),
        (f"timm:{TIMM}", [f"timm:{TIMM}={tmp_path}/none"], "none: no such file"),
        (f"timm:{TIMM}", [f"timm:{TIMM}={other}"], r"does not hold the weights of timm-.* tensors are missing"),
        (f"timm:{TIMM}", [f"timm:{TIMM}={tmp_path}/text.pth"], "cannot be read as a checkpoint"),
        (f"timm:{TIMM}", [f"timm:{TIMM}={tmp_path}/text.safetensors"], "cannot be read as safetensors"),
        (f"timm:{TIMM}", ["inception=x"], "expected timm:NAME=FILE"),
    ]
    for name, given, told in cases:
        with pytest.raises(InputError, match=told) as error:
            build_extractor(name, SHAPE, FeatureOptions(files=given))
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="takes images"):
        build_extractor(f"timm:{TIMM}", (7,), FeatureOptions(files=files))
    with pytest.raises(InputError, match="uint8"):
        build_extractor(f"timm:{TIMM}", SHAPE, FeatureOptions(files=files))(torch.rand(2, *SHAPE))
