"""Caches and runs on mounts that take nothing: told before training, with advice that works."""

import shutil

import numpy as np
import pytest
from integration.launch import QUICK, module, refused
from mounts import mounted, read_only

from lfiw.data import SampleCache

FAST = [*QUICK, "trainer.max_epochs=1", "experiment=vectors", "model.width=4"]


@pytest.fixture
def caches(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    for name, mean in (("real", 0.5), ("generated", 0.0)):
        np.savez(f"{name}.npz", x=np.random.default_rng(0).normal(mean, 1, (60, 2)).astype(np.float32))
        module("tools/cache_samples.py").main(["npz", f"{name}.npz", "--out", f"caches/{name}"])
    return tmp_path / "caches"


def test_a_read_only_cache_is_told_before_training(caches, tmp_path, capfd):
    with read_only(caches):
        told = refused(capfd, "train.py", *FAST, "data.real=caches/real", "data.generated=caches/generated")
        assert told.startswith(f"{caches}/real/columns: cannot write there (Read-only file system): ")
        assert not list((tmp_path / "runs").glob("*/*"))
        # the advice: the same caches by their URLs, whose columns are kept elsewhere
        assert f"file://{caches}/real" in told
        _, objects = module("train.py").train(
            [*FAST, f"data.real=file://{caches}/real", f"data.generated=file://{caches}/generated", "run_dir=run"]
        )
    assert objects["record"]["weightings"]
    assert "log_ratio/run" in SampleCache(f"file://{caches}/real").columns
    assert not (caches / "real/columns").exists()


def test_a_read_only_run_is_told_before_it_goes_on(caches, tmp_path, capfd):
    both = ["data.real=caches/real", "data.generated=caches/generated"]
    module("train.py").train([*FAST, *both, "run_dir=old/run"])
    with read_only(tmp_path / "old"):
        for script, key in (("train.py", "resume"), ("evaluate.py", "run")):
            assert "cannot write there (Read-only file system): copy the run folder" in refused(
                capfd, script, f"{key}=old/run"
            )
    capfd.readouterr()


def test_a_full_disk_ends_a_run_in_one_line_and_it_goes_on_where_there_is_space(caches, tmp_path, capfd):
    both = ["data.real=caches/real", "data.generated=caches/generated"]
    (tmp_path / "small").mkdir()
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=32k", "tmpfs"):
        told = refused(capfd, "train.py", *FAST, *both, "run_dir=small/run")
        assert "(No space left on device): free some space" in told
        shutil.copytree("small/run", "run", ignore=shutil.ignore_patterns(".*"))
    module("train.py").train(["resume=run"])
    assert (tmp_path / "run/evaluation.json").is_file()
