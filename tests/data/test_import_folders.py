"""Folders of image files. Oracle: the arrays that Pillow saved."""

import numpy as np
import pytest
import torch
from PIL import Image

from lfiw import InputError
from lfiw.data.importers.folders import import_folder

COLOUR = np.random.default_rng(0).integers(0, 256, (4, 5, 7, 3), dtype=np.uint8)


def read(imported):
    blocks = list(imported.blocks())
    return {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def test_one_folder(tmp_path):
    for number, suffix in enumerate(["png", "PNG", "bmp", "webp"]):
        save(tmp_path / f"{number}.{suffix}", COLOUR[number], **({"lossless": True} if suffix == "webp" else {}))
    (tmp_path / "readme.txt").write_text("not an image")
    (tmp_path / ".thumbs").mkdir()
    save(tmp_path / ".thumbs/0.png", COLOUR[0, :2])
    imported = import_folder(tmp_path)
    columns = read(imported)
    assert list(columns) == ["image"]
    np.testing.assert_array_equal(columns["image"].numpy(), COLOUR.transpose(0, 3, 1, 2))
    assert imported.notes == ("4 files, RGB",)


def test_classes(tmp_path):
    for number, name in enumerate(["dog/b.png", "cat/z.png", "dog/a.png", "ant/deep/x.png"]):
        save(tmp_path / name, COLOUR[number])
    imported = import_folder(tmp_path)
    columns = read(imported)
    assert imported.source["classes"] == ["ant", "cat", "dog"]
    assert columns["label"].tolist() == [0, 1, 2, 2]
    np.testing.assert_array_equal(columns["image"].numpy(), COLOUR[[3, 1, 2, 0]].transpose(0, 3, 1, 2))


def test_grey_stays_grey_unless_mixed(tmp_path):
    save(tmp_path / "a.png", COLOUR[0, ..., 0])
    assert read(import_folder(tmp_path))["image"].shape == (1, 1, 5, 7)
    save(tmp_path / "b.png", COLOUR[1])
    images = read(import_folder(tmp_path))["image"]
    assert images.shape == (2, 3, 5, 7)
    assert torch.equal(images[0, 0], images[0, 2])


def test_alpha_is_dropped_and_said(tmp_path):
    save(tmp_path / "a.png", np.dstack([COLOUR[0], np.full((5, 7), 9, np.uint8)]))
    imported = import_folder(tmp_path)
    np.testing.assert_array_equal(read(imported)["image"][0].numpy(), COLOUR[0].transpose(2, 0, 1))
    assert "alpha channels were dropped" in imported.notes


def test_palette_with_transparency(tmp_path):
    image = Image.fromarray(COLOUR[0]).quantize(8)
    image.save(tmp_path / "a.png", transparency=bytes([0] * 8))
    assert read(import_folder(tmp_path))["image"].shape == (1, 3, 5, 7)


def test_the_odd_one_is_named_and_size_mends_it(tmp_path):
    for number in range(3):
        save(tmp_path / f"{number}.png", COLOUR[number])
    save(tmp_path / "odd.png", COLOUR[3, :4])
    with pytest.raises(InputError, match=r"odd\.png: 7 × 4 pixels, 3 others have 7 × 5: give --size N"):
        import_folder(tmp_path)
    assert read(import_folder(tmp_path, size=6))["image"].shape == (4, 3, 6, 6)


def test_resizing_takes_the_central_square(tmp_path):
    save(tmp_path / "a.png", COLOUR[0])
    images = read(import_folder(tmp_path, size=5))["image"]
    np.testing.assert_array_equal(images[0].numpy(), COLOUR[0, :, 1:6].transpose(2, 0, 1))


def test_content_decides_the_hash(tmp_path):
    save(tmp_path / "a/0.png", COLOUR[0])
    save(tmp_path / "b/0.png", COLOUR[0])
    save(tmp_path / "c/0.png", COLOUR[1])
    a, b, c = (import_folder(tmp_path / name).source["sha256"] for name in "abc")
    assert a == b != c


def test_folders_that_are_none(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        import_folder(tmp_path / "none")
    with pytest.raises(InputError, match="no image in it"):
        import_folder(tmp_path)
    save(tmp_path / "a.png", COLOUR[0])
    with pytest.raises(InputError, match="size 0"):
        import_folder(tmp_path, size=0)
    save(tmp_path / "sub/a.png", COLOUR[0])
    with pytest.raises(InputError, match="1 images lie in the folder itself and 1 in sub-folders"):
        import_folder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello"])
def test_a_file_that_is_no_image(tmp_path, content):
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.png: not an image"):
        import_folder(tmp_path)


def test_a_cut_image(tmp_path):
    save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"a\.png: cannot be decoded"):
        read(import_folder(tmp_path))


def test_more_than_eight_bits(tmp_path):
    save(tmp_path / "a.png", np.full((4, 4), 40_000, np.uint16))
    with pytest.raises(InputError, match=r"a\.png: mode I;16, expected 8 bits a channel"):
        import_folder(tmp_path)
