"""Caches that hold rows of another one."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from lfiw import InputError
from lfiw.data import CacheWriter, ColumnWriter, SampleCache, write_rows

N = 30


def write(path: Path, seed: int = 0) -> SampleCache:
    generator = torch.Generator().manual_seed(seed)
    with CacheWriter(path, source={"generator": "noise"}, shard_bytes=500) as writer:  # several shards
        images = torch.randint(256, (N, 3, 4, 4), dtype=torch.uint8, generator=generator)
        writer.write({"image": images, "label": torch.arange(N)})
    return SampleCache(path)


@pytest.fixture
def table(tmp_path: Path) -> SampleCache:
    return write(tmp_path / "deep" / "mine")


ROWS = torch.tensor([7, 7, 29, 0, 12, 7])


@pytest.fixture
def chosen(table: SampleCache, tmp_path: Path) -> SampleCache:
    write_rows(tmp_path / "chosen", table, ROWS, source={"method": "sir"})
    return SampleCache(tmp_path / "chosen")


def test_all_ways_of_reading(table: SampleCache, chosen: SampleCache) -> None:
    everything = {name: table[name] for name in ("image", "label")}
    assert len(chosen) == 6
    assert chosen.columns == ("image", "label", "row")
    assert chosen.source == {"method": "sir"}
    assert torch.equal(chosen["row"], ROWS)
    for name, values in everything.items():
        assert torch.equal(chosen[name], values[ROWS])
        assert torch.equal(chosen[1:4][name], values[ROWS[1:4]])
        assert torch.equal(chosen[[5, 0, 2]][name], values[ROWS[[5, 0, 2]]])
        assert torch.equal(chosen[2][name], values[29])
        assert torch.equal(chosen.__getitems__([3])[name], values[[0]])
        assert chosen.column(name) == table.column(name)
    found = chosen.read([4, 4], ["row", "image"])
    assert list(found) == ["row", "image"]
    assert torch.equal(found["row"], torch.tensor([12, 12]))
    assert chosen[0:0]["image"].shape == (0, 3, 4, 4)
    (batch,) = DataLoader(chosen, batch_size=6, collate_fn=lambda batch: batch)
    assert torch.equal(batch["image"], everything["image"][ROWS])
    with pytest.raises(InputError, match="row 6 does not exist: the table has rows 0 to 5"):
        chosen.read([6], ["image"])
    with pytest.raises(InputError, match="no column 'feature': the table has image, label, row"):
        chosen["feature"]


def test_nothing_is_copied(chosen: SampleCache) -> None:
    size = sum(path.stat().st_size for path in chosen.path.rglob("*") if path.is_file())
    assert size < 3000
    assert sum(path.stat().st_size for path in (chosen.path / "data").iterdir()) < 200


def test_later_columns_of_the_table_are_read_through_the_rows(table: SampleCache, chosen: SampleCache) -> None:
    values = torch.randn(N, 5)
    table.add_column("features/a", values, stamp={"name": "a"})  # after the rows were chosen
    assert chosen.columns == ("image", "label", "row", "features/a")
    assert torch.equal(chosen["features/a"], values[ROWS])
    assert chosen.column("features/a").stamp == {"name": "a"}
    table.add_column("features/a", values + 1, stamp={"name": "a", "version": 2})
    chosen.refresh()
    assert torch.equal(chosen.read([2], ["features/a"])["features/a"], values[[29]] + 1)


def test_columns_of_its_own(table: SampleCache, chosen: SampleCache) -> None:
    table.add_column("log_ratio/a", torch.arange(N).double(), stamp={"run": "a"})
    assert chosen["log_ratio/a"].tolist() == ROWS.tolist()
    own = torch.arange(6).double() * 100
    chosen.add_column("log_ratio/a", own, stamp={"run": "b"})
    assert torch.equal(chosen["log_ratio/a"], own)
    assert chosen.column("log_ratio/a").stamp == {"run": "b"}
    assert chosen.columns.count("log_ratio/a") == 1
    assert torch.equal(table["log_ratio/a"], torch.arange(N).double())
    with ColumnWriter(chosen, "weights", stamp={}) as writer:
        writer.write(0, own)
    assert torch.equal(chosen["weights"], own)
    assert "weights" not in table.columns
    for name in ("image", "row"):
        with pytest.raises(InputError, match=f"'{name}' is a base column"):
            chosen.add_column(name, own, stamp={})


def test_rows_of_rows(table: SampleCache, chosen: SampleCache, tmp_path: Path) -> None:
    chosen.add_column("mine", torch.arange(6), stamp={})
    write_rows(tmp_path / "again", chosen, [5, 2], source={})
    again = SampleCache(tmp_path / "again")
    assert again.columns == ("image", "label", "row", "mine")
    assert again["label"].tolist() == [7, 29]
    assert again["row"].tolist() == [5, 2]
    assert again["mine"].tolist() == [5, 2]


def test_identity_pickling_and_verify(table: SampleCache, chosen: SampleCache, tmp_path: Path) -> None:
    copy = pickle.loads(pickle.dumps(chosen))
    assert copy.identity == chosen.identity
    assert torch.equal(copy["label"], ROWS)
    write_rows(tmp_path / "same", table, ROWS, source={})
    write_rows(tmp_path / "other", table, ROWS.flip(0), source={})
    other_table = write(tmp_path / "other table", seed=1)
    write_rows(tmp_path / "others", other_table, ROWS, source={})
    identities = [SampleCache(tmp_path / name).identity for name in ("same", "other", "others")]
    assert identities[0] == chosen.identity
    assert len({*identities, table.identity}) == 4
    chosen.verify()
    shard = sorted((table.path / "data").iterdir())[-1]
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(InputError, match=f"{shard.name}: the content is not what was written"):
        chosen.verify()


def test_the_two_move_together(table: SampleCache, chosen: SampleCache, tmp_path: Path) -> None:
    assert json.loads((chosen.path / "manifest.json").read_text())["of"]["path"] == "../deep/mine"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("deep", "chosen"):
        shutil.move(tmp_path / name, elsewhere / name)
    assert SampleCache(elsewhere / "chosen")["label"].tolist() == ROWS.tolist()
    (tmp_path / "link").symlink_to(elsewhere / "chosen")
    assert SampleCache(tmp_path / "link")["label"].tolist() == ROWS.tolist()


def test_a_table_that_was_written_again_or_moved_is_refused(
    table: SampleCache, chosen: SampleCache, tmp_path: Path
) -> None:
    shutil.move(table.path, tmp_path / "moved")
    with pytest.raises(InputError, match=r"chosen holds rows of .*mine, which cannot be read \(.*no cache there"):
        SampleCache(chosen.path)
    write(table.path, seed=1)
    with pytest.raises(InputError, match=r"chosen holds rows of .*mine, which was written again since"):
        SampleCache(chosen.path)
    write(tmp_path / "fresh")  # the same content is the same table
    shutil.rmtree(table.path)
    shutil.move(tmp_path / "fresh", table.path)
    assert SampleCache(chosen.path)["label"].tolist() == ROWS.tolist()


def test_a_manifest_that_was_changed(chosen: SampleCache) -> None:
    file = chosen.path / "manifest.json"
    manifest = json.loads(file.read_text())
    for change, message in (
        ({"of": None}, "the entry of is not a mapping"),
        ({"of": {**manifest["of"], "identity": "0" * 64}}, "identity is .* expected"),
        ({"of": {**manifest["of"], "identity": "x"}}, "of.identity is 'x', expected 64"),
        ({"of": {**manifest["of"], "columns": {}}}, "of.columns is {}, expected at least one"),
        ({"columns": {"row": {"dtype": "int32", "shape": []}}}, "columns is .* expected row alone"),
        ({"format": "lfiw-cache"}, "identity is .* expected"),
    ):
        file.write_text(json.dumps({**manifest, **change}))
        with pytest.raises(InputError, match=message):
            SampleCache(chosen.path)
    del manifest["of"]
    file.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="of is missing"):
        SampleCache(chosen.path)


def test_what_is_refused_leaves_nothing(table: SampleCache, chosen: SampleCache, tmp_path: Path) -> None:
    before = sorted(os.walk(tmp_path))
    for path, rows, message in (
        (tmp_path / "new", [N], "row 30 does not exist"),
        (tmp_path / "new", [], "no rows were written"),
        (tmp_path / "new", torch.tensor([0.5]), "expected whole numbers"),
        (chosen.path, [1], "exists already"),
        (tmp_path / "deep" / ".." / "deep" / "mine", [1], "the rows of a cache cannot replace it"),
    ):
        with pytest.raises(InputError, match=message):
            write_rows(path, table, rows, source={})
    assert sorted(os.walk(tmp_path)) == before
    write_rows(chosen.path, table, [3], source={}, overwrite=True)
    assert SampleCache(chosen.path)["label"].tolist() == [3]
