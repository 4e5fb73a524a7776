"""Folders of image files. Oracle: the arrays that Pillow saved."""

import hashlib
import io
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps, features
from torchvision.datasets import ImageFolder

from lfiw import InputError
from lfiw.data.importers.folders import import_folder, import_zip

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
    assert imported.notes == (
        "4 files, RGB",
        "hidden files left out: 1 (as .thumbs/0.png)",
        "other files left out: 1 (as readme.txt)",
    )


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
    assert "transparency dropped, the colour below it is read: 1 (as a.png)" in imported.notes


def test_palette_with_transparency(tmp_path):
    image = Image.fromarray(COLOUR[0]).quantize(8)
    image.save(tmp_path / "a.png", transparency=bytes([0] * 8))
    imported = import_folder(tmp_path)
    np.testing.assert_array_equal(
        read(imported)["image"][0].numpy(), np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    )
    assert "transparency dropped, the colour below it is read: 1 (as a.png)" in imported.notes


def test_the_odd_one_is_named_and_size_mends_it(tmp_path):
    for number in range(3):
        save(tmp_path / f"{number}.png", COLOUR[number])
    save(tmp_path / "odd.png", COLOUR[3, :4])
    with pytest.raises(InputError, match=r"odd\.png: 7 × 4 pixels, 3 others have 7 × 5: give --size N"):
        import_folder(tmp_path)
    assert read(import_folder(tmp_path, size=6))["image"].shape == (4, 3, 6, 6)


def test_resizing_takes_the_central_square(tmp_path):
    save(tmp_path / "a.png", COLOUR[0])
    save(tmp_path / "b.png", COLOUR[0, :, 1:6])
    imported = import_folder(tmp_path, size=5)
    images = read(imported)["image"]
    assert imported.notes[1:] == (
        "cropped to the central square: 1 (as a.png)",
        "resized to 5 × 5, bicubic: 1 (as a.png)",
    )
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
    with pytest.raises(InputError, match=r"a\.png: mode I;16, 16 bits per channel, expected 8 bits per channel"):
        import_folder(tmp_path)


def png16(pixels):
    """A PNG file of 16 bits per channel (grey with alpha, RGB or RGBA), which Pillow cannot write."""
    height, width, channels = pixels.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def tiff16(pixels):
    """A TIFF file of 16 bits per channel, RGB, not packed."""
    height, width, channels = pixels.shape
    content = pixels.astype("<u2").tobytes()
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, 8), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 14),
        (277, 3, 1, channels), (278, 4, 1, height), (279, 4, 1, len(content)),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    start = 14 + len(content)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", start) + struct.pack("<3H", 16, 16, 16) + content + directory


WIDE = np.full((4, 4, 3), 1000)
DEEP = {
    "rgb.png": png16(WIDE),
    "rgba.png": png16(np.full((4, 4, 4), 1000)),
    "grey-alpha.png": png16(np.full((4, 4, 2), 1000)),
    "rgb.tif": tiff16(WIDE),
    "rgb.ppm": b"P6 4 4 65535\n" + WIDE.astype(">u2").tobytes(),
    "grey.pgm": b"P5 4 4 4095\n" + WIDE[..., 0].astype(">u2").tobytes(),
    "rgb.sgi": struct.pack(">HBBHHHHII", 474, 0, 2, 3, 4, 4, 3, 0, 65535).ljust(512, b"\0")
    + WIDE.astype(">u2").tobytes(),
}


@pytest.mark.parametrize("name", DEEP)
def test_sixteen_bits_are_refused_where_pillow_drops_half_of_them(tmp_path, name):
    (tmp_path / name).write_bytes(DEEP[name])
    with Image.open(tmp_path / name) as image:
        image.load()  # Pillow can read it
    with pytest.raises(InputError, match=f"{name}: mode .*1[26] bits per channel, expected 8"):
        import_folder(tmp_path)


def test_sixteen_bits_of_jpeg_2000(tmp_path):
    """The number of bits stands beside the size of each component; that of a file of 8 is edited."""
    save(tmp_path / "a.jp2", COLOUR[0])
    assert read(import_folder(tmp_path))["image"].shape == (1, 3, 5, 7)
    content = bytearray((tmp_path / "a.jp2").read_bytes())
    start = content.index(b"\xff\x4f\xff\x51") + 42
    assert bytes(content[start : start + 9]) == bytes([7, 1, 1] * 3)
    content[start] = 15
    (tmp_path / "a.jp2").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.jp2: mode RGB, 16 bits per channel"):
        import_folder(tmp_path)


def test_every_format_that_holds_pixels_exactly(tmp_path):
    suffixes = [
        "png",
        "PNG",
        "apng",
        "tif",
        "TIFF",
        "ppm",
        "bmp",
        "dib",
        "tga",
        "pcx",
        "sgi",
        "qoi",
        "webp",
        "gif",
    ]
    image = Image.fromarray(COLOUR[0] // 64 * 64)  # few colours: exact as a GIF too
    for suffix in suffixes:
        image.save(tmp_path / f"a.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    for suffix in ("jfif", "JPE", "jp2", "ico"):
        image.resize((16, 16)).save(tmp_path / f"{suffix}.{suffix}", **({"format": "JPEG"} if suffix == "jfif" else {}))
    for name in ("labels.csv", "Thumbs.db", ".DS_Store", "film.mpg", "drawing.eps", "paper.pdf", "table.h5"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match="give --size N"):
        import_folder(tmp_path)
    imported = import_folder(tmp_path, size=5)
    notes = dict(note.split(": ", 1) for note in imported.notes[1:])
    assert imported.num_rows == len(suffixes) + 4
    assert notes["hidden files left out"] == "2 (as .DS_Store)"
    assert notes["other files left out"] == "5 (as drawing.eps)"
    for suffix in ("jfif", "JPE", "jp2", "ico"):
        (tmp_path / f"{suffix}.{suffix}").unlink()
    images = read(import_folder(tmp_path))["image"].numpy()
    for number, picture in enumerate(images):
        np.testing.assert_array_equal(picture.transpose(1, 2, 0), np.asarray(image), err_msg=str(number))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", *(["avif"] if features.check("avif") else [])])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    options = {"lossless": True} if suffix == "webp" else {"quality": 95} if suffix == "jpg" else {}
    Image.fromarray(COLOUR[0]).save(tmp_path / f"a.{suffix}", exif=exif.tobytes(), **options)
    imported = import_folder(tmp_path)
    with Image.open(tmp_path / f"a.{suffix}") as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(read(imported)["image"][0].numpy(), expected.transpose(2, 0, 1))
    assert ("turned upright as EXIF says: 1 (as a." in " ".join(imported.notes)) == (orientation > 1)


def test_animations(tmp_path):
    frames = [Image.fromarray(pixels) for pixels in COLOUR]
    for suffix, options in (("png", {}), ("webp", {"lossless": True}), ("tif", {})):
        frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
    save(tmp_path / "b.png", COLOUR[0])
    imported = import_folder(tmp_path)
    assert imported.notes[1] == "animated or of several pages, the first is read: 3 (as a.png)"
    for image in read(imported)["image"]:
        np.testing.assert_array_equal(image.numpy(), COLOUR[0].transpose(2, 0, 1))


def test_what_is_converted_is_counted(tmp_path):
    Image.fromarray(COLOUR[0]).convert("CMYK").save(tmp_path / "a.jpg")
    save(tmp_path / "b.png", COLOUR[0, ..., 0])
    save(tmp_path / "c.png", COLOUR[1])
    assert import_folder(tmp_path).notes[1:] == (
        "converted to RGB from CMYK: 1 (as a.jpg)",
        "converted to RGB from L: 1 (as b.png)",
    )


def test_links_are_followed_as_torchvision_does(tmp_path):
    for number in range(4):
        save(tmp_path / f"elsewhere/dog/{number}.png", COLOUR[number])
        save(tmp_path / f"photos/cat/{number}.png", COLOUR[number])
    (tmp_path / "photos/dog").symlink_to(tmp_path / "elsewhere/dog")
    (tmp_path / "photos/cat/4.png").symlink_to(tmp_path / "elsewhere/dog/0.png")
    columns = read(import_folder(tmp_path / "photos"))
    expected = ImageFolder(tmp_path / "photos")
    assert columns["label"].tolist() == expected.targets
    for image, (pixels, _) in zip(columns["image"], expected, strict=True):
        np.testing.assert_array_equal(image.numpy(), np.asarray(pixels).transpose(2, 0, 1))
    (tmp_path / "photos/dog/again").symlink_to(tmp_path / "photos")
    with pytest.raises(InputError, match=r"photos/dog/again: a link to a folder that it lies in"):
        import_folder(tmp_path / "photos")
    (tmp_path / "photos/dog/again").unlink()
    (tmp_path / "photos/bird").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"photos/bird: a link to what is not there"):
        import_folder(tmp_path / "photos")
    (tmp_path / "photos/bird").rename(tmp_path / "photos/.#lock")  # as editors leave them
    (tmp_path / "photos/.b").symlink_to(tmp_path / "photos/.b")
    (tmp_path / "photos/ant").mkdir()
    imported = import_folder(tmp_path / "photos")
    assert imported.num_rows == 9
    assert imported.source["classes"] == ["cat", "dog"]
    assert "folders without an image, which get no label: 1 (as ant)" in imported.notes


def test_names_that_are_not_utf8(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(COLOUR[0]).save(buffer, "PNG")
    for name in (b"caf\xe9/1.png", "tée/2.png".encode()):
        path = os.path.join(os.fsencode(tmp_path), name)
        os.makedirs(os.path.dirname(path))
        Path(os.fsdecode(path)).write_bytes(buffer.getvalue())
    digest = hashlib.sha256()
    for name in (b"caf\xe9/1.png", "tée/2.png".encode()):
        digest.update(name + b"\0" + hashlib.sha256(buffer.getvalue()).digest())
    imported = import_folder(tmp_path)
    assert read(imported)["label"].tolist() == [0, 1] or read(imported)["label"].tolist() == [1, 0]
    assert sorted(imported.source["classes"]) == ["caf\\xe9", "tée"]
    assert imported.source["sha256"] == digest.hexdigest()
    "".join(imported.notes).encode()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9/3.png")).write_bytes(b"none")
    with pytest.raises(InputError, match=r"caf\\xe9/3\.png: not an image"):
        import_folder(tmp_path)
    assert "skipped 1 bad files: caf\\xe9/3.png" in import_folder(tmp_path, skip_bad=True).notes


def test_an_archive_is_read_as_its_folder(tmp_path):
    frames = [Image.fromarray(pixels) for pixels in COLOUR]
    (tmp_path / "f/a").mkdir(parents=True)
    frames[0].save(tmp_path / "f/a/0.tif", save_all=True, append_images=frames[1:])
    save(tmp_path / "f/b/1.png", np.dstack([COLOUR[1], COLOUR[1, ..., 0]]))
    (tmp_path / "f/a/labels.csv").write_text("x")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for file in sorted(file for file in (tmp_path / "f").rglob("*") if file.is_file()):
            archive.write(file, str(file.relative_to(tmp_path / "f")).replace("/", "\\"))  # as some on Windows do
    folder, packed = import_folder(tmp_path / "f"), import_zip(tmp_path / "a.zip")
    assert folder.notes == packed.notes
    assert len(folder.notes) == 6
    assert folder.source["sha256"] == packed.source["sha256"]
    for name, column in read(folder).items():
        assert torch.equal(column, read(packed)[name])
