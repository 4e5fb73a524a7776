"""SIGKILL at random moments while two processes write one cache: it is whole or absent, and going on ends in the same.

One process imports the library once and forks the two ranks of every run; they find one another through gloo on the
loopback, as under torchrun.
"""

import subprocess
import sys

import pytest

HARNESS = r"""
import json, os, random, signal, socket, sys, time
from pathlib import Path

import torch

torch.set_num_threads(1)
from lfiw.data import SampleCache
from lfiw.generators import caching
from lfiw.training.processes import join_processes

folder, kills = Path(sys.argv[1]), int(sys.argv[2])
ROWS, PER_SHARD, SLEEP = 400, 20, 0.003
os.fsync = lambda descriptor: None  # what a killed process has written stays without it


class Slow:
    num_rows, rows_per_seed, notes, source = None, 1, (), {"generator": "slow"}

    def sample(self, num, generator, labels=None):
        return self.sample_each([generator] * num)

    def sample_each(self, generators, labels=None):
        time.sleep(SLEEP)
        rows = [torch.randint(256, (3, 2, 2), generator=g, dtype=torch.uint8) for g in generators]
        return {"image": torch.stack(rows)}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def rank(number, size, port, path, log):
    os.environ.update(RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE=str(size), LOCAL_WORLD_SIZE=str(size),
                      GROUP_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), TORCHELASTIC_RUN_ID="kill")
    join_processes()
    sample_rows = caching.sample_rows

    def logged(generator, start, stop, **options):
        if stop - start > 1:
            with open(log, "a") as file:
                file.write(f"{start} {stop}\n")
        return sample_rows(generator, start, stop, **options)

    caching.sample_rows = logged
    caching.cache_samples(Slow(), path, num=ROWS, batch_size=10, shard_bytes=PER_SHARD * 12, progress=False)


def start(path, log, size=2):
    port, children = free_port(), []
    for number in range(size):
        child = os.fork()
        if child == 0:
            try:
                rank(number, size, port, path, log)
                os._exit(0)
            except BaseException as error:
                print("rank", number, "failed:", repr(error)[:90], flush=True)
                os._exit(1)
        children.append(child)
    return children


def run(path, log, size=2):
    for child in start(path, log, size):
        assert os.waitpid(child, 0)[1] == 0


run(folder / "undisturbed", folder / "log", 1)
expected = SampleCache(folder / "undisturbed").identity
begun = time.monotonic()
run(folder / "timed", folder / "log")
length = time.monotonic() - begun
assert SampleCache(folder / "timed").identity == expected
random.seed(0)
moments, most_lost, attempt, remaining = [], 0, 0, kills
while remaining:
    attempt += 1
    path, log = folder / f"mine{attempt}", folder / f"log{attempt}"
    while remaining and not path.exists():  # killed again and again, until a run gets through
        log.unlink(missing_ok=True)
        children = start(path, log)
        time.sleep(random.uniform(0, 0.9 * length))
        done = [os.waitpid(child, os.WNOHANG) for child in children]
        for child, (ended, _) in zip(children, done):
            if not ended:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
        if all(ended for ended, _ in done):
            break
        remaining -= 1
        if path.exists():
            SampleCache(path).verify()
        else:  # shards that were begun since the start and are not whole: at most one a process
            begun = {int(line.split()[0]) // PER_SHARD for line in open(log)} if log.exists() else set()
            whole = {int(p.stem[6:]) for p in folder.glob(f".{path.name}.unfinished~0/journal/00000-*.json")}
            most_lost = max(most_lost, len(begun - whole))
    if not path.exists():
        run(path, log, random.choice([1, 2, 3]))  # as many processes as one likes
    cache = SampleCache(path)
    cache.verify()
    assert cache.identity == expected, path
for hidden in folder.glob(".*"):  # of processes that were killed after they had published
    assert not list(hidden.glob("table/data/*")), hidden
print(json.dumps({"kills": kills, "caches": attempt, "most_lost": most_lost}))
"""


def killed(folder, kills: int, timeout: float) -> str:
    command = [sys.executable, "-c", HARNESS, str(folder), str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    assert '"most_lost": ' in done.stdout
    assert int(done.stdout.rsplit('"most_lost": ')[1].rstrip("}\n")) <= 2  # one for each of two processes
    return done.stdout


def test_a_few_kills(tmp_path) -> None:
    killed(tmp_path, 3, 200)


@pytest.mark.slow
def test_a_hundred_kills(tmp_path) -> None:
    killed(tmp_path, 100, 3000)
