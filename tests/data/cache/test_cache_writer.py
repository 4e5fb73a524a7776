"""Writing base columns: blocks in, a whole cache out, or nothing."""

import errno

import pytest
import torch

from lfiw import InputError
from lfiw.data import CacheWriter, SampleCache

BLOCK = {"image": torch.zeros(5, 1, 2, 2, dtype=torch.uint8), "label": torch.arange(5)}


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_the_target_appears_when_whole(tmp_path):
    with CacheWriter(tmp_path / "deep/mine", shard_bytes=1) as writer:
        writer.write(BLOCK)
        assert not (tmp_path / "deep/mine").exists()
        assert writer.num_rows == 5
    assert names(tmp_path / "deep") == ["mine"]
    assert names(tmp_path / "deep/mine") == ["data", "manifest.json"]
    assert names(tmp_path / "deep/mine/data") == [f"00000-0000{number}.safetensors" for number in range(5)]


def write(path, *blocks, **options):
    with CacheWriter(path, **options) as writer:
        for block in blocks:
            writer.write(block)


def fail(path, **options):
    with CacheWriter(path, **options) as writer:
        writer.write(BLOCK)
        raise KeyError


def test_an_exception_leaves_nothing(tmp_path):
    with pytest.raises(KeyError):
        fail(tmp_path / "mine", shard_bytes=1)
    assert names(tmp_path) == []


def test_an_exception_leaves_what_was_there(tmp_path):
    write(tmp_path / "mine", BLOCK)
    with pytest.raises(KeyError):
        fail(tmp_path / "mine", overwrite=True)
    assert names(tmp_path) == ["mine"]
    SampleCache(tmp_path / "mine").verify()


def test_blocks_may_be_used_again_and_need_no_memory_order(tmp_path):
    block = torch.zeros(4, 3)
    with CacheWriter(tmp_path / "mine") as writer:
        for number in range(3):
            block.fill_(number)
            writer.write({"x": block})
        writer.write({"x": torch.full((3, 4), 3.0).T.requires_grad_()})
        writer.write({"x": torch.zeros(0, 3)})
    assert torch.equal(
        SampleCache(tmp_path / "mine")["x"], torch.arange(4.0).repeat_interleave(4)[:, None].expand(16, 3)
    )


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({**BLOCK, "image": BLOCK["image"].float()}, "this block has image float32 .*expected image uint8"),
        ({**BLOCK, "image": torch.zeros(5, 1, 2, 3, dtype=torch.uint8)}, r"this block has image uint8 \[1, 2, 3\]"),
        ({"image": BLOCK["image"]}, "this block has image uint8"),
        ({**BLOCK, "extra": BLOCK["label"]}, "extra int64"),
        ({**BLOCK, "label": torch.arange(4)}, "different numbers of rows"),
        ({}, "without columns"),
        ({**BLOCK, "label": torch.tensor(1)}, r"label has shape \(\)"),
        ({**BLOCK, "image": torch.zeros(5, 0)}, r"image has shape \(5, 0\)"),
        ({**BLOCK, "label": torch.zeros(5, dtype=torch.complex64)}, "cannot hold torch.complex64"),
    ],
)
def test_a_block_unlike_the_first(tmp_path, block, message):
    with pytest.raises(InputError, match=message):
        write(tmp_path / "mine", BLOCK, block)
    assert names(tmp_path) == []


def test_no_rows_make_no_cache(tmp_path):
    for blocks in ([], [{"x": torch.zeros(0, 3)}]):
        with pytest.raises(InputError, match="no rows were written"):
            write(tmp_path / "mine", *blocks)
    assert names(tmp_path) == []


def test_a_name_that_leads_outside(tmp_path):
    with pytest.raises(InputError, match="cannot name a column"):
        write(tmp_path / "mine", {"../x": torch.zeros(3)})


@pytest.mark.parametrize("source", [{"a": object()}, {"a": float("nan")}, {"a": {1, 2}}])
def test_provenance_must_be_json(tmp_path, source):
    with pytest.raises(InputError, match="source cannot be kept as JSON"):
        CacheWriter(tmp_path / "mine", source=source)


def test_what_is_there_is_kept_unless_told(tmp_path):
    for overwrite in (False, True):
        write(tmp_path / "mine", BLOCK, overwrite=overwrite)
    with pytest.raises(InputError, match=r"exists already: overwrite it .*or choose another path"):
        CacheWriter(tmp_path / "mine").__enter__()
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", BLOCK)
    SampleCache(tmp_path / "empty").verify()


def test_only_caches_are_overwritten(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis.tex").write_text("precious")
    (tmp_path / "file").write_text("precious")
    for name, message in (("home", "holds thesis.tex, so it is no cache"), ("file", "is a file")):
        with pytest.raises(InputError, match=message):
            CacheWriter(tmp_path / name, overwrite=True).__enter__()
    assert (tmp_path / "home/thesis.tex").read_text() == "precious"


def test_overwriting_keeps_open_readers_and_removes_the_rest(tmp_path):
    path = tmp_path / "mine"
    write(path, BLOCK, shard_bytes=1)
    old = SampleCache(path)
    old.add_column("log_ratio/a", torch.zeros(5), stamp={})
    write(path, {"image": BLOCK["image"] + 1}, overwrite=True)
    assert torch.equal(old[[4, 0]]["image"], BLOCK["image"][:2])
    new = SampleCache(path)
    new.verify()
    assert new.columns == ("image",)
    assert torch.equal(new["image"], BLOCK["image"] + 1)
    assert names(path / "data") == ["00000-00005.safetensors"]  # a name never stands for two contents
    with pytest.raises(InputError, match="was overwritten since it was opened"):
        old.add_column("log_ratio/a", torch.zeros(5), stamp={})


@pytest.mark.parametrize("folder", ["/proc/lfiw", "/proc/self/lfiw"])
def test_a_folder_that_cannot_be_written(folder):
    with pytest.raises(InputError, match=r"/proc/.*cannot write there .*choose a folder") as error:
        CacheWriter(folder).__enter__()
    assert "\n" not in str(error.value)


def test_a_path_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write there"):
        CacheWriter(tmp_path / "file/mine").__enter__()


def test_a_full_disk(tmp_path, monkeypatch):
    def full(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lfiw.data.cache.shards.write_all", full)
    with pytest.raises(InputError, match=r"mine: cannot write there .No space left on device.: free some space"):
        write(tmp_path / "mine", BLOCK)
    assert names(tmp_path) == []


def test_shards_have_a_size(tmp_path):
    with pytest.raises(InputError, match="shard_bytes"):
        CacheWriter(tmp_path / "mine", shard_bytes=0)
