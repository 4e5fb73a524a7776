"""DINOv2 against its own definition, from a state dict as its authors publish them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from lfiw.errors import InputError
from lfiw.features import DINOv2, FeatureOptions, build_extractor
from lfiw.features.dinov2 import interpolated

SHAPE = (3, 32, 32)
WIDTH, DEPTH, HEADS = 384, 12, 6
IMAGES = torch.randint(0, 256, (3, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Names and shapes of dinov2_vits14_pretrain.pth, random numbers."""
    g = torch.Generator().manual_seed(1)

    def normal(*shape: int, scale: float = 0.05) -> Tensor:
        return scale * torch.randn(shape, generator=g)

    found = {
        "cls_token": normal(1, 1, WIDTH, scale=1),
        "mask_token": normal(1, WIDTH),
        "pos_embed": normal(1, 1 + 37 * 37, WIDTH, scale=1),
        "patch_embed.proj.weight": normal(WIDTH, 3, 14, 14),
        "patch_embed.proj.bias": normal(WIDTH),
        "norm.weight": 1 + normal(WIDTH, scale=0.2),
        "norm.bias": normal(WIDTH),
    }
    for block in range(DEPTH):
        sizes = {"attn.qkv": (3 * WIDTH, WIDTH), "attn.proj": (WIDTH, WIDTH)}
        sizes |= {"mlp.fc1": (4 * WIDTH, WIDTH), "mlp.fc2": (WIDTH, 4 * WIDTH)}
        for name, shape in sizes.items():
            found[f"blocks.{block}.{name}.weight"] = normal(*shape)
            found[f"blocks.{block}.{name}.bias"] = normal(shape[0])
        for number in (1, 2):
            found[f"blocks.{block}.norm{number}.weight"] = 1 + normal(WIDTH, scale=0.2)
            found[f"blocks.{block}.norm{number}.bias"] = normal(WIDTH)
            found[f"blocks.{block}.ls{number}.gamma"] = normal(WIDTH, scale=1)
    return found


@pytest.fixture(scope="module")
def file(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dinov2") / "dinov2_vits14_pretrain.pth"
    torch.save(state, path)
    return path


def from_the_paper(state: dict[str, Tensor], images: Tensor) -> Tensor:
    """Pre-norm transformer with layer scale; images as Pillow resizes them."""
    resized = [
        np.asarray(Image.fromarray(i.permute(1, 2, 0).numpy()).resize((224, 224), Image.Resampling.BICUBIC))
        for i in images
    ]
    x = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2) / 255
    x = (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    x = F.conv2d(x, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=14)
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([state["cls_token"].expand(len(x), 1, -1), x], 1) + interpolated(state["pos_embed"], 16)

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, (WIDTH,), state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    for block in range(DEPTH):
        own = f"blocks.{block}"
        qkv = linear(f"{own}.attn.qkv", norm(f"{own}.norm1", x)).unflatten(2, (3, HEADS, WIDTH // HEADS))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attention = torch.softmax(q @ k.transpose(2, 3) / (WIDTH // HEADS) ** 0.5, -1) @ v
        x = x + state[f"{own}.ls1.gamma"] * linear(f"{own}.attn.proj", attention.transpose(1, 2).flatten(2))
        hidden = F.gelu(linear(f"{own}.mlp.fc1", norm(f"{own}.norm2", x)))
        x = x + state[f"{own}.ls2.gamma"] * linear(f"{own}.mlp.fc2", hidden)
    return norm("norm", x)[:, 0]


def test_features(state: dict[str, Tensor], file: Path) -> None:
    extractor = build_extractor("dinov2", SHAPE, FeatureOptions(dinov2_weights=file))
    found = extractor(IMAGES)["features"]
    assert found.shape == (3, extractor.num_features) == (3, WIDTH)
    expected = from_the_paper(state, IMAGES)
    # a pixel in a thousand is rounded to the next byte by one of the two resizes
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)
    assert (found - expected).norm() < 2e-3 * expected.norm()
    assert extractor.columns == {"features": f"features/dinov2-{extractor.sha256[:8]}"}


def test_one_channel_is_repeated(file: Path) -> None:
    extractor = build_extractor("dinov2", (1, 28, 28), FeatureOptions(dinov2_weights=file))
    grey = IMAGES[:, :1, :28, :28].contiguous()
    torch.testing.assert_close(extractor(grey), extractor(grey.expand(-1, 3, -1, -1)))


def test_positions_for_another_grid() -> None:
    """A plane stays that plane, away from the edges; the class's own embedding is not touched."""
    row, column = torch.meshgrid(torch.arange(37.0), torch.arange(37.0), indexing="ij")
    plane = torch.stack([row, column], -1).reshape(1, -1, 2)
    found = interpolated(torch.cat([torch.full((1, 1, 2), 7.0), plane], 1), 16)
    assert found.shape == (1, 257, 2)
    assert found[0, 0].tolist() == [7, 7]
    centres = (torch.arange(16.0) + 0.5) * 37 / 16.1 - 0.5
    # a bicubic kernel of a = −0.75 bends a plane a little; without the tenth of a patch the last would be 0.2 off
    torch.testing.assert_close(found[0, 1:].reshape(16, 16, 2)[1:-1, 5, 0], centres[1:-1], rtol=0, atol=0.06)
    same = torch.randn(1, 257, 2)
    assert interpolated(same, 16) is same


def test_what_is_no_dinov2(tmp_path: Path, state: dict[str, Tensor], file: Path) -> None:
    with pytest.raises(InputError, match=r"set features\.dinov2_weights"):
        DINOv2(SHAPE, None)
    with pytest.raises(InputError, match="takes images"):
        DINOv2((7,), file)
    lacking = {name: value for name, value in state.items() if name != "blocks.3.ls1.gamma"}
    with_registers = {**state, "register_tokens": torch.zeros(1, 4, WIDTH)}
    other_width = {**state, "cls_token": torch.zeros(1, 1, 100)}
    for content in ({"a": torch.zeros(1)}, [1, 2], lacking, with_registers, other_width):
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(InputError, match="does not hold a DINOv2") as error:
            DINOv2(SHAPE, tmp_path / "w.pth")
        assert "\n" not in str(error.value)
