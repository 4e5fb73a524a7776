"""Odd files and arrays, made at random: each ends in one line or is read, and whatever is not read is told."""

import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lfiw import InputError
from lfiw.data.importers.arrays import import_arrays
from lfiw.data.importers.folders import import_folder, import_zip

SUFFIXES = ["png", "PNG", "jpg", "jfif", "tif", "ppm", "gif", "webp", "bmp", "tga", "jp2"]
OTHERS = ["labels.csv", "Thumbs.db", ".DS_Store", "._a.png", "readme", "film.mpg", "a.png.part", "x.pdf"]
MODES = ["RGB", "L", "RGBA", "P", "1", "CMYK", "LA", "I;16"]
COUNTS = [25, pytest.param(250, marks=pytest.mark.slow)]


def one_line(error):
    text = str(error)
    assert text
    assert "\n" not in text
    text.encode()


def make_file(path, rng):
    side = (6, 4) if rng.random() < 0.1 else (4, 4)
    mode = str(rng.choice(MODES, p=[0.6, 0.1, 0.1, 0.05, 0.05, 0.05, 0.03, 0.02]))
    image = Image.fromarray(rng.integers(0, 256, (*side, 3), dtype=np.uint8))
    image = image.convert("L").convert(mode) if mode == "I;16" else image.convert(mode)
    options = {}
    if rng.random() < 0.1:
        options["exif"] = Image.Exif()
        options["exif"][0x112] = int(rng.integers(0, 10))
    if rng.random() < 0.1:
        options |= {"save_all": True, "append_images": [image]}
    if mode == "P" and rng.random() < 0.5:
        options["transparency"] = 0
    try:
        image.save(path, **options)
    except (OSError, ValueError, TypeError, KeyError):  # of formats that have no such mode
        image.convert("RGB").save(path, format="PNG")
    if rng.random() < 0.05:
        content = bytearray(path.read_bytes())
        content[int(rng.integers(len(content)))] ^= 255
        path.write_bytes(content[: int(rng.integers(len(content) + 1))])


def make_folder(root, rng):
    classes = [b"", b"a", b"b/deep", b"caf\xe9", "ü\n".encode()]
    inside = [classes[0]] if rng.random() < 0.4 else list(rng.choice(np.array(classes[1:], object), 2, replace=False))
    for number in range(int(rng.integers(1, 9))):
        folder = Path(os.fsdecode(os.path.join(os.fsencode(root), inside[number % len(inside)])))
        folder.mkdir(parents=True, exist_ok=True)
        kind = rng.random()
        name = b"\xff.png" if kind < 0.05 else f"{number}.{rng.choice(SUFFIXES)}".encode()
        if kind < 0.8:
            make_file(Path(os.fsdecode(os.path.join(os.fsencode(folder), name))), rng)
        else:
            (folder / str(rng.choice(OTHERS))).write_bytes(rng.bytes(20))
    if rng.random() < 0.1:
        (root / "link").symlink_to([root, root / "nowhere", root.parent / "linked"][int(rng.integers(3))])


def files_below(root):
    """As Python's own walk finds them."""
    return [os.path.join(folder, name) for folder, _, names in os.walk(root, followlinks=True) for name in names]


@pytest.mark.parametrize("count", COUNTS)
def test_folders(tmp_path, count):
    (tmp_path / "linked").mkdir()
    make_file(tmp_path / "linked" / "x.png", np.random.default_rng(0))
    read = 0
    for seed in range(count):
        rng = np.random.default_rng(seed)
        root = tmp_path / str(seed)
        root.mkdir()
        make_folder(root, rng)
        where, open_source = root, import_folder
        if rng.random() < 0.3 and not any(path.is_symlink() for path in root.iterdir()):
            where, open_source = tmp_path / f"{seed}.zip", import_zip
            with zipfile.ZipFile(where, "w") as archive:
                for file in files_below(root):
                    archive.writestr(os.fsencode(os.path.relpath(file, root)).decode("latin1"), Path(file).read_bytes())
        try:
            imported = open_source(where, size=4 if rng.random() < 0.7 else None, skip_bad=bool(rng.random() < 0.7))
            rows = sum(len(block["image"]) for block in imported.blocks())
        except InputError as error:
            one_line(error)
            continue
        read += 1
        assert rows == imported.num_rows
        notes = "\n".join(imported.notes)
        told = [
            int(n)
            for n in re.findall(r"^(?:hidden|other) files left out: (\d+)|^skipped (\d+)", notes, re.M)
            for n in n
            if n
        ]
        assert rows + sum(told) == len(files_below(root)), (seed, notes)
        notes.encode()
    assert read > count / 3


def make_array(rng):
    dtype = str(
        rng.choice(["u1", "f4", ">f4", "f8", "f2", "g", "i8", ">i4", "u2", "?", "c8", "U2", "V3", "M8[s]", "O"])
    )
    ndim = int(rng.choice([0, 1, 2, 3, 4, 5], p=[0.03, 0.07, 0.2, 0.2, 0.47, 0.03]))
    shape = tuple(int(rng.choice([3, 4, 5, 6, 0], p=[0.25, 0.2, 0.25, 0.28, 0.02])) for _ in range(ndim))
    if rng.random() < 0.7:  # what is usual
        shape = [(5, 6, 6, 3), (5, 3, 6, 6), (5, 6, 6), (5, 6), (5,), (5, 1)][int(rng.integers(6))]
    low, high = [(0, 1), (-1, 1), (0, 255), (-0.03, 1), (-0.2, 0.4), (0, 1.2), (-3, 3)][int(rng.integers(7))]
    array = rng.uniform(low, high, shape)
    if rng.random() < 0.05 and array.size:
        array.flat[0] = np.nan
    if dtype in ("V3", "M8[s]"):
        return np.zeros(shape, dtype)
    with np.errstate(all="ignore"):
        array = np.array(array).round() if dtype in ("u1", "i8", ">i4", "u2") else np.array(array)
        array = np.nan_to_num(array).clip(0).astype(dtype) if dtype in ("u1", "u2") else array.astype(dtype)
    return np.asfortranarray(array) if rng.random() < 0.3 else array


@pytest.mark.parametrize("count", [60, pytest.param(600, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # making the arrays
def test_arrays(tmp_path, count):
    read = 0
    for seed in range(count):
        rng = np.random.default_rng(seed)
        arrays = {"images": make_array(rng)}
        for name in ("labels", "extra"):
            if rng.random() < 0.3:
                arrays[name] = make_array(rng)
        path = tmp_path / "a.npz"
        if len(arrays) == 1 and arrays["images"].dtype != object and rng.random() < 0.5:
            path = tmp_path / "a.npy"
            np.save(path, arrays["images"])
        else:
            np.savez(path, **arrays)
        try:
            imported = import_arrays(
                path,
                layout=str(rng.choice(["nhwc", "nhw"])) if rng.random() < 0.2 else None,
                value_range=str(rng.choice(["unit", "signed", "byte"])) if rng.random() < 0.3 else None,
            )
            blocks = list(imported.blocks())
        except InputError as error:
            one_line(error)
            continue
        read += 1
        notes = "\n".join(imported.notes)
        columns = {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}
        check_read(arrays["images"], columns, notes, seed)
        for name in set(arrays) - {"images"}:
            assert (name == "labels" and "label" in columns) or f"{name} (" in notes, (seed, notes)
    assert read > count / 10


def check_read(array, columns, notes, seed):
    if "vector" in columns:
        np.testing.assert_array_equal(columns["vector"].numpy(), array.astype(columns["vector"].numpy().dtype))
        return
    values = array.astype(float)
    found = re.search(r"in \[(\S+), (\S+)\]", notes)
    low, high = map(float, found.groups()) if found else (0.0, 255.0)
    values = ((values - low) / (high - low)).clip(0, 1) * 255
    values = values[:, None] if array.ndim == 3 else values.transpose(0, 3, 1, 2) if "NHWC" in notes else values
    assert np.abs(columns["image"].numpy() - values).max() <= 0.51, seed  # rounded to the nearest
    over = (array.astype(float) < low - 1e-4 * (high - low)) | (array.astype(float) > high + 1e-4 * (high - low))
    assert ("clamped" in notes) or not over.any(), seed
