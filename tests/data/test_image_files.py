import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lfiw import InputError
from lfiw.data.image_files import check_images_target, write_images
from lfiw.data.importers.arrays import import_arrays
from lfiw.data.importers.folders import import_folder


def images(channels: int = 3, n: int = 7) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (n, channels, 5, 4), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("channels", [1, 3])
def test_npz_in_the_common_format(tmp_path: Path, channels: int) -> None:
    pixels = images(channels)
    write_images(tmp_path / "set.npz", pixels.split(3), len(pixels))
    with np.load(tmp_path / "set.npz") as file:
        assert file.files == ["arr_0"]
        found = file["arr_0"]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, pixels.permute(0, 2, 3, 1).numpy())
    assert zipfile.ZipFile(tmp_path / "set.npz").testzip() is None
    if channels == 3:
        (block,) = import_arrays(tmp_path / "set.npz", None, None, None).blocks()
        assert torch.equal(block["image"], pixels)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_files(tmp_path: Path, channels: int) -> None:
    pixels = images(channels)
    write_images(tmp_path / "set", pixels.split(3), len(pixels))
    files = sorted((tmp_path / "set").iterdir())
    assert [file.name for file in files] == [f"{i:06d}.png" for i in range(7)]
    assert np.asarray(Image.open(files[3])).tolist() == pixels[3].permute(1, 2, 0).squeeze(2).tolist()
    (block,) = import_folder(tmp_path / "set").blocks()
    assert torch.equal(block["image"], pixels)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("mine")
    (tmp_path / "set.npz").write_text("mine")
    for name in ("full", "set.npz"):
        with pytest.raises(InputError, match="exists already: choose another path for the images"):
            write_images(tmp_path / name, [images()], 7)
    (tmp_path / "empty").mkdir()
    check_images_target(tmp_path / "empty")
    write_images(tmp_path / "empty", [images()], 7)
    assert len(list((tmp_path / "empty").iterdir())) == 7


@pytest.mark.parametrize("name", ["set", "set.npz"])
def test_an_error_on_the_way_leaves_nothing(tmp_path: Path, name: str) -> None:
    def blocks():
        yield images()
        raise InputError("the disk is on fire")

    with pytest.raises(InputError, match="on fire"):
        write_images(tmp_path / name, blocks(), 14)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="images of 2 channels cannot be PNG files"):
        write_images(tmp_path / "two", [images(2)], 7)
    assert list(tmp_path.iterdir()) == []
