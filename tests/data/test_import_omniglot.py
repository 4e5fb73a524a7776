"""Omniglot from torchvision's folders and from an array file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import datasets
from torchvision.transforms.v2 import functional as reference

from lfiw import InputError
from lfiw.data.importers import Imported
from lfiw.data.importers.datasets import import_omniglot


def columns(imported: Imported) -> dict[str, Tensor]:
    blocks = list(imported.blocks())
    return {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}


@pytest.fixture
def arrays(tmp_path: Path) -> dict[str, np.ndarray]:
    """Three characters of two alphabets, two drawers each, as torchvision unpacks them and as an .npz."""
    random = np.random.default_rng(0)
    images = 255 * random.integers(0, 2, (6, 105, 105), dtype=np.uint8)
    found = {
        "images": images,
        "character": np.repeat(np.arange(3), 2),
        "alphabet": np.array([0, 0, 0, 0, 1, 1]),
        "drawer": np.tile([1, 2], 3),
    }
    names = [("Greek", "character01"), ("Greek", "character02"), ("Latin", "character01")]
    for row, ink in enumerate(images):
        folder = tmp_path / "omniglot-py" / "images_background" / Path(*names[row // 2])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - ink).convert("1").save(folder / f"{row // 2 + 1:04d}_{row % 2 + 1:02d}.png")
    np.savez(tmp_path / "background.npz", **found)
    return found


def test_folders_and_arrays_give_the_same(
    arrays: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.Omniglot, "_check_integrity", lambda self: True)
    of_folders = columns(import_omniglot("background", tmp_path, size=105))
    of_file = columns(import_omniglot("background", tmp_path, tmp_path / "background.npz", size=105))
    np.savez(tmp_path / "wide.npz", **{n: v.astype(v.dtype.newbyteorder(">")) for n, v in arrays.items()})
    of_wide = columns(import_omniglot("background", tmp_path, tmp_path / "wide.npz", size=105))
    assert all(torch.equal(of_wide[name], values) for name, values in of_file.items())
    assert list(of_folders) == list(of_file) == ["image", "label", "alphabet", "drawer"]
    for name, values in of_file.items():
        assert torch.equal(values, of_folders[name]), name
    np.testing.assert_array_equal(of_file["image"][:, 0].numpy(), arrays["images"])
    np.testing.assert_array_equal(of_file["label"].numpy(), arrays["character"])
    (tmp_path / "omniglot-py/images_background/Greek/character01/0001_03.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"0001_03\.jpg: expected a name as in 0001_01\.png"):
        import_omniglot("background", tmp_path)


def test_resized_as_torchvision_does(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    imported = import_omniglot("background", tmp_path, tmp_path / "background.npz")
    found = columns(imported)["image"]
    assert found.shape == (6, 1, 28, 28)
    expected = reference.resize(torch.from_numpy(arrays["images"]).unsqueeze(1), [28, 28], antialias=True)
    assert (found.int() - expected.int()).abs().max() <= 1  # torchvision resizes bytes in fixed-point numbers
    assert imported.notes == ("3 characters of 2 alphabets, 105×105 brought to 28×28, 255 = ink",)


def test_files_that_do_not_hold_it(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    file = tmp_path / "wrong.npz"
    np.savez(file, images=arrays["images"])
    with pytest.raises(InputError, match="lacks character, alphabet, drawer"):
        import_omniglot("background", tmp_path, file)
    np.savez(file, **{**arrays, "images": arrays["images"][:, :50]})
    with pytest.raises(InputError, match=r"images are uint8 \(6, 50, 105\), expected uint8 \(N, 105, 105\)"):
        import_omniglot("background", tmp_path, file)
    np.savez(file, **{**arrays, "drawer": arrays["drawer"][:3]})
    with pytest.raises(InputError, match=r"drawer is int64 \(3,\), expected 6 whole numbers"):
        import_omniglot("background", tmp_path, file)
    np.savez(file, **{**arrays, "images": arrays["images"] // 255})
    with pytest.raises(InputError, match=r"no value of images is above 1, .*: save 255 \* images"):
        import_omniglot("background", tmp_path, file)
    with pytest.raises(InputError, match="--size 2: expected 4 … 105"):
        import_omniglot("background", tmp_path, tmp_path / "background.npz", size=2)
