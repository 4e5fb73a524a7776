"""Files that appear whole or not at all."""

import json
import math
import os
from pathlib import Path

import pytest
from mounts import read_only

from lfiw import InputError
from lfiw.files import check_writable, replacing, temporary_name, write_atomically, write_json


def test_content(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a" / "b" / "text", "αβ\n")
    write_atomically(tmp_path / "bytes", b"\x00\xff")
    assert (tmp_path / "a" / "b" / "text").read_bytes() == "αβ\n".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff"
    write_atomically(str(tmp_path / "bytes"), b"new")
    assert (tmp_path / "bytes").read_bytes() == b"new"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "bytes"]


def test_json(tmp_path: Path) -> None:
    content = {"a": [1, 2.5, None, "ü"], "b": {"c": True}}
    write_json(tmp_path / "x.json", content)
    assert json.loads((tmp_path / "x.json").read_text()) == content
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(tmp_path / "x.json", {"a": bad})
    assert json.loads((tmp_path / "x.json").read_text()) == content


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    file = tmp_path / "file.bin"
    file.write_text("old")

    def write_half() -> None:
        with replacing(file) as temporary:
            temporary.write_text("ne")
            raise error

    with pytest.raises(error):
        write_half()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_what_a_killed_process_left_is_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    temporary_name(file).write_text("half of something longer")
    write_atomically(file, "whole")
    assert file.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [file]


def test_the_temporary_file_is_hidden_beside_with_the_same_ending(tmp_path: Path) -> None:
    with replacing(tmp_path / "x.png") as temporary:
        assert (temporary.parent, temporary.suffix, temporary.name[0]) == (tmp_path, ".png", ".")
        temporary.write_text("")
        assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize("where", ["file/x", "file/sub/x", "folder", "x" * 300, "/proc/x", "/proc/sub/x"])
def test_where_nothing_can_be_written(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"cannot write there \(.+\): choose a folder that you can write to") as error:
        write_atomically(tmp_path / where, "x")
    assert "\n" not in str(error.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_a_full_disk_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="free some space"), replacing(tmp_path / "x"):
        raise OSError(28, "No space left on device")


def test_a_link_is_replaced_by_the_file(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("target")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_atomically(tmp_path / "link", "new")
    assert (tmp_path / "link").read_text() == "new"
    assert (tmp_path / "target").read_text() == "target"


def test_a_folder_that_cannot_be_written_is_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_writable(tmp_path / "new/folder")
    assert not list(tmp_path.iterdir())
    asked = []
    monkeypatch.setattr(os, "access", lambda path, mode: asked.append((Path(path), mode)))
    with pytest.raises(InputError, match=r"new/folder: cannot write there \(Permission denied\): copy it"):
        check_writable(tmp_path / "new/folder", "copy it")
    assert asked == [(tmp_path, os.W_OK | os.X_OK)]


def test_a_read_only_file_system(tmp_path: Path) -> None:
    with read_only(tmp_path), pytest.raises(InputError, match=r"cannot write there \(Read-only file system\)"):
        check_writable(tmp_path / "new")
