"""Extraction of features that is killed and started again: the same column, and no row twice."""

import subprocess
import sys
import time
from pathlib import Path

import torch
from integration.launch import ROOT, environment

from lfiw.data import CacheWriter, SampleCache

SCRIPT = ROOT / "tests/integration/extract_slowly.py"
NUM, BATCH = 403, 10


def start(cache: Path, seconds: float) -> "subprocess.Popen[str]":
    command = [sys.executable, str(SCRIPT), str(cache), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(PYTHONPATH=str(ROOT)))


def test_killed_three_times(tmp_path: Path) -> None:
    images = torch.randint(0, 256, (NUM, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with CacheWriter(tmp_path / "cache", source={}) as writer:
        writer.write({"image": images})
    computed = []
    for _ in range(3):
        process = start(tmp_path / "cache", 0.05)
        assert process.stdout is not None
        rows = sum(int(process.stdout.readline()) for _ in range(8))
        time.sleep(0.03)
        process.kill()
        rest, _ = process.communicate()
        computed.append(rows + sum(map(int, rest.split())))
        assert SampleCache(tmp_path / "cache").columns == ("image",)
    process = start(tmp_path / "cache", 0)
    out, _ = process.communicate()
    assert process.returncode == 0
    computed.append(sum(map(int, out.split())))
    cache = SampleCache(tmp_path / "cache")
    cache.verify()
    assert torch.equal(cache["features/pixels"], images.flatten(1) / 255)
    assert all(rows >= 8 * BATCH for rows in computed[:3])
    # a kill loses at most the batch at hand and the one that was not yet written
    assert NUM <= sum(computed) <= NUM + 3 * 2 * BATCH
    assert not list((tmp_path / "cache").rglob(".partial-*"))
