"""tools/export.py on the digits of the shared run."""

import numpy as np
import pandas as pd
import pytest
import torch
from integration.launch import module, refused

from lfiw.cli import run_script
from lfiw.data import CacheWriter, SampleCache


@pytest.fixture
def here(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(digits.cwd)  # a run names its caches from where it was started
    return tmp_path


def exported(capfd, *arguments) -> str:
    capfd.readouterr()
    assert run_script(module("tools/export.py").main, [str(a) for a in arguments]) == 0
    return capfd.readouterr().out


def test_a_run_has_the_weights_that_the_gate_chose(here, digits, capfd):
    """Their effective sample size is that of the report; log-ratios are those of the run's column."""
    told = exported(capfd, digits.folder, "--out", here / "out.parquet")
    frame = pd.read_parquet(here / "out.parquet")
    chosen = next(w for w in digits.record["weightings"] if w["name"] == digits.record["recommended"])
    assert len(frame) == digits.record["num_generated"]
    assert frame["weight"].sum() == pytest.approx(1, rel=1e-12)
    assert 1 / (frame["weight"] ** 2).sum() == pytest.approx(chosen["ess"], rel=1e-9)
    assert f"weighting {digits.record['recommended']} of" in told
    column = f"log_ratio/{digits.folder.name}"
    caches = [SampleCache(path) for path in (digits.cwd / "cache").glob("digits-generated-*")]
    (cache,) = (cache for cache in caches if column in cache.columns)
    assert set(frame["log_ratio"]) <= set(cache[column].tolist())


def test_another_weighting_by_name(here, digits, capfd):
    exported(capfd, digits.folder, "--weighting", "flatten 0.5", "--to", "npz", "--out", here / "out.npz")
    with np.load(here / "out.npz") as file:
        log_ratio, weight = file["log_ratio"], file["weight"]
    expected = np.exp(0.5 * (log_ratio - log_ratio.max()))
    np.testing.assert_allclose(weight, expected / expected.sum(), rtol=1e-12)


def test_a_cache_with_log_ratios(here, capfd):
    log_ratio = torch.linspace(-3, 2, 30, dtype=torch.float64)
    with CacheWriter(here / "mine") as writer:
        writer.write({"vector": torch.randn(30, 4)})
    SampleCache(here / "mine").add_column("log_ratio/a", log_ratio, stamp={"name": "a"})
    told = exported(capfd, here / "mine", "--flatten", 0.5, "--clip", 0.5, "--out", here / "out.parquet")
    frame = pd.read_parquet(here / "out.parquet")
    expected = np.maximum(np.exp(0.5 * log_ratio.numpy()), 0.5)
    np.testing.assert_allclose(frame["weight"], expected / expected.sum(), rtol=1e-12)
    np.testing.assert_array_equal(frame["log_ratio"], log_ratio.numpy())
    assert "30 samples with log_ratio and weight, weighted by log_ratio/a" in told


@pytest.mark.parametrize(
    ("source", "options", "names"),
    [
        ("RUN", ["--weighting", "flaten 0.5"], ["--weighting flaten 0.5", "did you mean flatten 0.5?"]),
        ("RUN", ["--flatten", "2"], ["is a run: --flatten goes with a cache"]),
        ("RUN", ["--to", "npz"], ["expected a name that ends in .npz"]),
        ("CACHE", ["--weighting", "uniform"], ["is a cache: --weighting goes with a run"]),
        ("CACHE", [], ["has no log-ratios", "--log-ratio"]),
        ("CACHE", ["--log-ratio", "log_ratio/b"], ["no column 'log_ratio/b'"]),
        ("nowhere", [], ["nowhere"]),
        ("RUN", ["--to", "csv"], ["invalid choice: 'csv'"]),
    ],
)
def test_mistakes_end_in_one_line(here, digits, capfd, source, options, names):
    with CacheWriter(here / "cache") as writer:
        writer.write({"vector": torch.randn(3, 4)})
    where = {"RUN": digits.folder, "CACHE": here / "cache"}.get(source, here / source)
    told = refused(capfd, "tools/export.py", where, "--out", here / "out.parquet", *options)
    for name in names:
        assert name in told
    assert not (here / "out.parquet").exists()


def test_the_ending_says_the_format(here, digits, capfd):
    told = refused(capfd, "tools/export.py", digits.folder, "--out", here / "out.csv")
    assert "out.csv: expected a name that ends in .parquet or .npz, or --to folder" in told
    assert not (here / "out.csv").exists()


def test_a_run_that_was_not_evaluated(here, digits, capfd):
    (here / "run").mkdir()
    (here / "run" / "config.yaml").write_text((digits.folder / "config.yaml").read_text())
    assert "was not evaluated" in refused(capfd, "tools/export.py", here / "run", "--out", here / "out.npz")
    (here / "run" / "config.yaml").write_text("task: {name: toy}\n")
    assert "a run of task=toy" in refused(capfd, "tools/export.py", here / "run", "--out", here / "out.npz")
