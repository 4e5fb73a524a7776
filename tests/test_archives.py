"""Zip files that lie about what is in them. The size of what comes out is measured in a process with little memory."""

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from untrusted import opened_in_little_memory

from lfiw import InputError
from lfiw.data.importers.folders import import_zip
from lfiw.untrusted import Archive

GIGABYTES = 3  # what a bomb unpacks to


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return path


def bomb(
    path: Path, name: str, first: bytes = b"", mebibytes: int = GIGABYTES << 10, stated: int | None = None
) -> Path:
    """`first`, then zeros: a thousandth of it on the disk. `stated`: the size that the archive tells instead."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = packer.compress(first) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)  # needs nothing that came before
    content = start + block * mebibytes + packer.flush()
    size = len(first) + (mebibytes << 20) if stated is None else stated
    fields = (20, 0, zipfile.ZIP_DEFLATED, 0, 0, 0, len(content), size, len(name), 0)
    entry = struct.pack("<4sH5H3I5H2I", b"PK\x01\x02", 20, *fields, 0, 0, 0, 0, 0) + name.encode()
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", *fields) + name.encode() + content
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(entry), len(local), 0)
    path.write_bytes(local + entry + end)
    return path


def npy_header(shape: tuple[int, ...], descr: str = "|u1") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def test_round_trip(tmp_path: Path) -> None:
    with Archive(zipped(tmp_path / "a.zip", a=b"x" * 3_000_000, b__c=b"")) as archive:
        assert archive.read("a") == b"x" * 3_000_000
        assert archive.read("b/c") == b""
        with pytest.raises(InputError, match=r"a has 3,000,000 bytes, at most 10"):
            archive.read("a", most=10)
        with pytest.raises(InputError, match="there is no d in it"):
            archive.read("d")


@pytest.mark.parametrize("name", ["../x.png", "a/../../x.png", "/etc/x.png"])
def test_a_name_that_leads_out(tmp_path: Path, name: str) -> None:
    path = zipped(tmp_path / "a.zip", **{name: b"x"})
    with pytest.raises(InputError, match=r"a\.zip: '.*x\.png' leads out of the archive"):
        Archive(path)


def test_a_link_in_an_archive_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        entry = zipfile.ZipInfo("x.png")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, str(tmp_path / "secret.png"))
    with pytest.raises(InputError, match=r"x\.png: not an image"):
        import_zip(tmp_path / "a.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_without_a_bound(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("x.png", bytes(10))
    with pytest.raises(InputError, match="another method than deflate"):
        Archive(tmp_path / "a.zip")


def test_drawings_and_labels_may_be_packed_well(tmp_path: Path) -> None:
    """Sorted labels come to a thousandth: below a gigabyte nobody asks."""
    np.savez_compressed(tmp_path / "a.npz", labels=np.zeros(10_000_000, np.int64))
    with Archive(tmp_path / "a.npz") as archive:
        assert archive.members["labels.npy"].file_size > 900 * archive.members["labels.npy"].compress_size


@pytest.mark.parametrize(
    "content", [b"", b"PK\x05\x06", b"hello", b"PK\x05\x06" + b"\xff" * 18, b"PK\x03\x04" + b"\0" * 90]
)
def test_what_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.zip: not a zip archive") as error:
        Archive(tmp_path / "a.zip")
    assert "\n" not in str(error.value)


def test_bombs_of_arrays(tmp_path: Path) -> None:
    """A small file that unpacks to 3 GB, says so or not; one whose header asks for 10^12 elements."""
    elements = GIGABYTES << 30
    honest = bomb(tmp_path / "honest.npz", "x.npy", npy_header((elements,)))
    small = bomb(tmp_path / "small.npz", "x.npy", npy_header((64,)), 1024, stated=192)
    header = bomb(tmp_path / "header.npz", "x.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\x7f", 1024, stated=100)
    claims = []
    for name, shape, descr in (
        ("many", (10**12,), "|u1"), ("wide", (10,), "|V999999999999"), ("product", (2**40, 2**40), "<f8"),
        ("negative", (-1, -(10**12)), "<f8"),
    ):  # fmt: skip
        claims.append(zipped(tmp_path / f"{name}.npz", **{"x.npy": npy_header(shape, descr) + bytes(100)}))
        (tmp_path / f"{name}.npy").write_bytes(npy_header(shape, descr) + bytes(100))
        claims.append(tmp_path / f"{name}.npy")
    files = [honest, small, header, *claims]
    assert max(file.stat().st_size for file in files) < 8 << 20
    lines = opened_in_little_memory(
        "from pathlib import Path\nfrom lfiw.data.importers.arrays import load_arrays",
        "load_arrays(Path(argument))",
        *files,
    )
    assert "unpack to 3,22" in lines[0]
    assert "small.npz: x.npy is damaged" in lines[1] or lines[1] == "opened"  # what it states is all that is read
    assert "header.npz: x.npy is damaged" in lines[2]
    for line, file in zip(lines[3:], claims, strict=True):
        assert line.startswith(f"{file}: cannot be read, damaged or not a {file.suffix} file (")


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def test_bombs_of_images(tmp_path: Path) -> None:
    """One huge image, members that unpack to gigabytes, and the same bytes under endlessly many names."""
    huge = zipped(tmp_path / "huge.zip", **{"x.png": png(15_000, 15_000)})
    wide = zipped(tmp_path / "wide.zip", **{"x.png": png(10_000, 10_000)})
    zeros = bomb(tmp_path / "zeros.zip", "x.png", png(4, 4))
    lying = bomb(tmp_path / "lying.zip", "x.png", png(4, 4), 1024, stated=200)
    large = bomb(tmp_path / "large.zip", "x.png", png(4, 4), 300)
    many = zipped(tmp_path / "many.zip", **{"x.png": png(8, 8) + bytes(50_000_000)})
    # 300 entries in the directory for one member
    content = bytearray(many.read_bytes())
    end = content.rindex(b"PK\x05\x06")
    directory = content[content.rindex(b"PK\x01\x02", 0, end) : end]
    start = end - len(directory)
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 300, 300, 300 * len(directory), start, 0)
    many.write_bytes(bytes(content[:start]) + bytes(directory) * 300 + tail)
    lines = opened_in_little_memory(
        "from pathlib import Path\nfrom lfiw.data.importers.folders import import_zip",
        "sum(len(block['image']) for block in import_zip(Path(argument)).blocks())",
        huge, zeros, lying, large, many, wide,
    )  # fmt: skip
    assert "huge.zip/x.png: cannot be read (Image size (225000000 pixels) exceeds" in lines[0]
    assert "wide.zip/x.png: cannot be read (10000 × 10000 pixels, at most 67,108,864)" in lines[5]
    assert "zeros.zip" in lines[1]
    assert "unpack to 3,22" in lines[1]
    assert "lying.zip: x.png is damaged" in lines[2]
    assert "x.png has 314," in lines[3]
    assert "many.zip" in lines[4]
    assert "unpack to 15," in lines[4]


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_two_members_of_one_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("a.png", "b.png", "./b.png"):
            archive.writestr(name, png(4, 4))
    with pytest.raises(InputError, match=r"a\.zip: 2 entries are called b\.png"):
        import_zip(tmp_path / "a.zip")


@pytest.mark.parametrize("skip_bad", [False, True])
def test_names_are_as_they_stand_in_the_archive(tmp_path: Path, skip_bad: bool) -> None:
    path = zipped(tmp_path / "a.zip", **{"./cat//a.png": png(4, 4), "dog/b.png": png(4, 4)})
    (block,) = import_zip(path, skip_bad=skip_bad).blocks()
    assert block["label"].tolist() == [0, 1]
