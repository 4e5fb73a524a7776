"""SIGKILL at every point where a writer touches the disk: what can be opened is whole, and the next writer works.

One process imports the library and forks a child for each point. The child kills itself at its n-th call of a function
that changes the file system; n counts up until a child ends by itself, so that no point is left out.
"""

import subprocess
import sys

HARNESS = """
import os, signal, sys
from pathlib import Path

import torch

from lfiw import InputError
from lfiw.data import CacheWriter, ColumnWriter, SampleCache

torch.set_num_threads(1)  # threads do not survive a fork
os.fsync = lambda descriptor: None  # what a killed process has written stays without it, and this test is fast
folder = Path(sys.argv[1])
path = folder / "mine"
OLD, NEW, COLUMN = torch.zeros(6, 3), torch.ones(6, 3), torch.arange(6.0)


def killed(action, point):
    '''Runs action in a child that dies at the n-th change of the file system → whether it died.'''
    child = os.fork()
    if child == 0:
        calls = [0]

        def counted(function):
            def call(*arguments, **options):
                calls[0] += 1
                if calls[0] == point:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **options)

            return call

        for name in ("write", "fsync", "rename", "replace", "unlink", "rmdir", "mkdir", "open"):
            setattr(os, name, counted(getattr(os, name)))
        try:
            action()
        except BaseException as error:
            print("the child failed:", repr(error))
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        sys.exit(1)
    return os.WIFSIGNALED(status)


def write(values, overwrite):
    with CacheWriter(path, shard_bytes=24, overwrite=overwrite) as writer:
        writer.write({"image": values})


def add(value):
    with ColumnWriter(path, "features/a", stamp={"value": value}, shard_bytes=8, part_rows=2) as writer:
        for first, end in writer.missing():
            writer.write(first, COLUMN[first:end] + value)


def names(folder):
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def check_writing():
    '''A new cache: it is there and whole, or there is nothing at its path.'''
    point, finished = 0, 0
    while True:
        point += 1
        died = killed(lambda: write(OLD, overwrite=False), point)
        if path.exists():
            cache = SampleCache(path)
            cache.verify()
            assert torch.equal(cache["image"], OLD)
            finished += 1
            os.rename(path, folder / f"done{point}")
        if not died:
            break
    write(OLD, overwrite=False)
    left = [name for name in names(folder) if name.startswith(".")]
    assert left == [], left
    return point


def check_overwriting():
    '''An old cache: it is the old or the new one, whole.'''
    seen = set()
    point = 0
    while True:
        point += 1
        write(OLD, overwrite=True)
        died = killed(lambda: write(NEW, overwrite=True), point)
        cache = SampleCache(path)
        cache.verify()
        value = float(cache["image"][0, 0])
        assert (cache["image"] == value).all()
        seen.add(value)
        if not died:
            break
    assert seen == {0.0, 1.0}
    assert [name for name in names(folder) if name.startswith(".")] == []
    assert len(names(path / "data")) == 3
    return point


def check_column():
    '''A column: the one before or the new one; and what was computed is found again.'''
    add(0)
    point, seen, resumed = 0, set(), set()
    value = 0
    while True:
        point += 1
        value += 1
        died = killed(lambda: add(value), point)
        cache = SampleCache(path)
        cache.verify()
        assert torch.equal(cache["features/a"], COLUMN + cache.column("features/a").stamp["value"])
        seen.add(value - cache.column("features/a").stamp["value"])
        if not died:
            break
        writer = ColumnWriter(path, "features/a", stamp={"value": value}).__enter__()
        resumed.add(sum(stop - start for start, stop in writer.rows_done))
        writer.__exit__(KeyError, None, None)
        add(value)
        assert SampleCache(path).column("features/a").stamp == {"value": value}
        assert torch.equal(SampleCache(path)["features/a"], COLUMN + value)
    assert seen == {0, 1}, seen
    assert resumed == {0, 2, 4, 6}, resumed
    assert len(names(path / "columns/features/a")) == 5, names(path / "columns/features/a")
    return point


for check in (check_writing, check_overwriting, check_column):
    points = check()
    assert points > 15, points
    print(check.__name__, points, "points")
"""


def test_killed_at_every_point(tmp_path):
    done = subprocess.run([sys.executable, "-c", HARNESS, str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("points") == 3
