"""Generators into caches: what the content depends on, going on after a stop, appending, refusing."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lfiw import InputError
from lfiw.data import SampleCache
from lfiw.data.cache.writer import PlannedWriter, unfinished
from lfiw.data.importers import Imported
from lfiw.generators import caching
from lfiw.generators.caching import cache_samples

SHARD = 12 * 20  # bytes: 20 rows of 12


class Each:
    """Draws each sample from its own generator."""

    num_rows: int | None = None
    rows_per_seed = 1
    notes: tuple[str, ...] = ()

    def __init__(self, version: int = 0) -> None:
        self.source: dict[str, Any] = {"generator": "each", "version": version}
        self.asked: list[int] = []

    def sample(self, num: int, generator: torch.Generator, labels: Tensor | None = None) -> dict[str, Tensor]:
        return self.sample_each([generator] * num, labels)

    def sample_each(self, generators: list[torch.Generator], labels: Tensor | None = None) -> dict[str, Tensor]:
        self.asked.append(len(generators))
        images = [torch.randint(256, (3, 2, 2), generator=g, dtype=torch.uint8) for g in generators]
        return {"image": torch.stack(images)}


class Block:
    """Draws seven from one generator."""

    num_rows: int | None = None
    rows_per_seed = 7
    notes: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.source: dict[str, Any] = {"generator": "block"}
        self.asked: list[int] = []

    def sample(self, num: int, generator: torch.Generator, labels: Tensor | None = None) -> dict[str, Tensor]:
        self.asked.append(num)
        return {"image": torch.randint(256, (num, 3, 2, 2), generator=generator, dtype=torch.uint8)}


def write(path: Path, generator: Any = None, num: int = 95, **options: Any) -> SampleCache:
    cache_samples(generator or Each(), path, num=num, shard_bytes=SHARD, progress=False, **options)
    return SampleCache(path)


def by_ranks(path: Path, world_size: int, generator: Callable[[], Any], num: int = 95) -> SampleCache:
    """The ranks of one run one after another, without waiting: what each writes is its own."""
    writers = []
    layouts = {"image": (torch.uint8, (3, 2, 2))}
    for rank in range(world_size):
        writer = PlannedWriter(
            path, num, layouts, source={**generator().source, "seed": 0, "classes": 0}, shard_bytes=SHARD,
            rank=rank, world_size=world_size, barrier=lambda: None,
        )  # fmt: skip
        writer.__enter__()
        writers.append((writer, writer.missing()))
    for writer, pieces in reversed(writers):
        made = generator()
        for piece in pieces:
            writer.write(piece, [caching.sample_rows(made, piece.start, piece.stop, seed=0)])
    for writer, _ in reversed(writers):  # rank 0 last: it publishes
        writer.__exit__(None, None, None)
    return SampleCache(path)


@pytest.mark.parametrize("generator", [Each, Block])
def test_content_is_a_function_of_the_seed(generator: Callable[[], Any], tmp_path: Path) -> None:
    first = write(tmp_path / "a", generator(), batch_size=10)
    assert len(first) == 95
    for name, options in {"b": {"batch_size": 1}, "c": {"batch_size": 33}}.items():
        assert write(tmp_path / name, generator(), **options).identity == first.identity
    for world_size in (2, 3):
        assert by_ranks(tmp_path / f"ranks{world_size}", world_size, generator).identity == first.identity
    other = write(tmp_path / "d", generator(), seed=1)
    assert not torch.equal(other["image"], first["image"])
    longer = write(tmp_path / "e", generator(), num=120)
    assert torch.equal(longer[0:95]["image"], first["image"])
    assert len(first["image"].unique(dim=0)) == 95
    first.verify()
    assert first.source["seed"] == 0


def test_append_goes_on_with_the_numbers(tmp_path: Path) -> None:
    cache = write(tmp_path / "a", num=50)
    cache.add_column("brightness", cache["image"].float().mean((1, 2, 3)), stamp={"name": "brightness"})
    longer = write(tmp_path / "a", num=45, append=True)
    assert torch.equal(longer["image"], write(tmp_path / "b")["image"])
    assert longer.columns == ("image",)  # the column was computed from the shorter table
    longer.verify()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a", "b"]
    with pytest.raises(InputError, match=r"comes from another source \(version differ\)"):
        write(tmp_path / "a", Each(version=1), append=True)
    with pytest.raises(InputError, match=r"another source \(seed differ\)"):
        write(tmp_path / "a", seed=3, append=True)
    with pytest.raises(InputError, match="no cache there"):
        write(tmp_path / "none", append=True)
    assert len(SampleCache(tmp_path / "a")) == 95


class Stops(Each):
    """Fails after so many calls."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def sample_each(self, generators: list[torch.Generator], labels: Tensor | None = None) -> dict[str, Tensor]:
        self.calls -= 1
        if self.calls < 0:
            raise RuntimeError("stopped")
        return super().sample_each(generators, labels)


def test_goes_on_after_the_last_whole_shard(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stopped"):
        write(tmp_path / "a", Stops(1 + 2 * 2 + 1), batch_size=10)  # one probe, two calls a shard
    assert not (tmp_path / "a").exists()
    assert unfinished(tmp_path / "a") == (40, 95)
    with pytest.raises(InputError, match=r"unfinished run with other options .* \(source differ\).* --restart"):
        write(tmp_path / "a", seed=1)
    with pytest.raises(InputError, match=r"\(num_rows differ\)"):
        write(tmp_path / "a", num=96)
    rest = Each()
    cache = write(tmp_path / "a", rest)
    assert sum(rest.asked) == 1 + 55
    assert cache.identity == write(tmp_path / "b").identity
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a", "b"]
    with pytest.raises(InputError, match="exists already"):
        write(tmp_path / "a")
    assert len(write(tmp_path / "a", num=30, overwrite=True)) == 30
    with pytest.raises(RuntimeError, match="stopped"):
        write(tmp_path / "c", Stops(4))
    again = Each()
    write(tmp_path / "c", again, restart=True)
    assert sum(again.asked) == 1 + 95


@pytest.mark.parametrize("entry", ["", "{}", '{"file": "data/00000-00000.safetensors", "num_rows": 20}'])
def test_an_entry_of_the_journal_that_tells_nothing(entry: str, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stopped"):
        write(tmp_path / "a", Stops(1 + 2 * 2 + 1), batch_size=10)
    (tmp_path / ".a.unfinished~0/journal/00000-00000.json").write_text(entry)
    rest = Each()
    cache = write(tmp_path / "a", rest)
    assert sum(rest.asked) == 1 + 75
    assert cache.identity == write(tmp_path / "b").identity


def test_nothing_stays_where_nothing_was_made(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stopped"):
        write(tmp_path / "a", Stops(1))
    assert not list(tmp_path.iterdir())


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    layouts = {"image": (torch.uint8, (3, 2, 2))}
    with PlannedWriter(tmp_path / "a", 20, layouts, source={}) as writer:
        with pytest.raises(InputError, match="another run is writing the same thing there"):
            write(tmp_path / "a")
        for piece in writer.missing():
            writer.write(piece, [{"image": torch.zeros(20, 3, 2, 2, dtype=torch.uint8)}])
    assert len(SampleCache(tmp_path / "a")) == 20


def test_a_disk_that_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = write(tmp_path / "a", num=30)
    original, calls = os.write, [0]

    def full(descriptor: int, data: Any) -> int:
        calls[0] += 1
        if calls[0] > 8:
            raise OSError(28, "No space left on device")
        return original(descriptor, data)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(InputError, match=r"No space left on device.*free some space"):
            write(tmp_path / "a", num=95, overwrite=True)
    SampleCache(tmp_path / "a").verify()
    assert SampleCache(tmp_path / "a").identity == before.identity
    done, planned = unfinished(tmp_path / "a") or (0, 0)
    assert 0 < done < planned == 95
    assert len(write(tmp_path / "a", num=95, overwrite=True)) == 95


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"num": None}, "how many samples"),
        ({"num": 0}, "how many samples"),
        ({"batch_size": 0}, "batch size 0"),
        ({"classes": -1}, "classes -1"),
        ({"seed": -1}, "seed -1"),
        ({"overwrite": True, "append": True}, "exclude one another"),
    ],
)
def test_numbers_that_do_not_do(options: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        write(tmp_path / "a", **options)
    assert not list(tmp_path.iterdir())


def test_recorded_samples(tmp_path: Path) -> None:
    images = torch.randint(256, (50, 3, 2, 2), dtype=torch.uint8)
    found = Imported({"file": "a"}, (), 50, lambda start, stop: {"image": images[start:stop]})
    cache = write(tmp_path / "a", found, num=None)  # type: ignore[arg-type]
    assert torch.equal(cache["image"], images)
    assert len(write(tmp_path / "b", found, num=7)) == 7
    for options, told in (({"num": 51}, "there are 50 samples"), ({"append": True}, "draw samples")):
        with pytest.raises(InputError, match=told):
            write(tmp_path / "c", found, **options)


def test_recorded_samples_are_read_in_blocks_of_their_own_size(tmp_path: Path) -> None:
    """Of large images an importer reads few at once: whatever --batch-size says, memory is bounded."""
    images, sizes = torch.randint(256, (50, 3, 2, 2), dtype=torch.uint8), []

    def read(start: int, stop: int) -> dict[str, Tensor]:
        sizes.append(stop - start)
        return {"image": images[start:stop]}

    cache = write(tmp_path / "a", Imported({"file": "a"}, (), 50, read, block_rows=8), num=50, batch_size=40)
    assert torch.equal(cache["image"], images)
    assert max(sizes) == 8


def test_blocks_that_are_not_the_rows(tmp_path: Path) -> None:
    layouts = {"image": (torch.uint8, (2,))}
    with pytest.raises(InputError, match="got 3 of 20"), PlannedWriter(tmp_path / "a", 20, layouts) as writer:
        writer.write(writer.missing()[0], [{"image": torch.zeros(3, 2, dtype=torch.uint8)}])
    with pytest.raises(InputError, match="are missing: run it again"), PlannedWriter(tmp_path / "a", 20, layouts):
        pass
    assert not list(tmp_path.iterdir())


def test_processes_need_a_barrier(tmp_path: Path) -> None:
    layouts = {"image": (torch.uint8, (2,))}
    with pytest.raises(InputError, match="need a barrier"):
        PlannedWriter(tmp_path / "a", 20, layouts, world_size=2)
    with pytest.raises(InputError, match="rank 2 of 2"):
        PlannedWriter(tmp_path / "a", 20, layouts, rank=2, world_size=2)
