"""Weighted augmentation as a user runs it: the fast variant of the study, two processes, and mistakes."""

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawings import write_generated, write_real
from integration.launch import launch, module, refused
from scipy.stats import ttest_rel

from lfiw.data import SampleCache
from lfiw.schemas import REGIMES

SIZES = [
    "data.num_classes=4",
    "data.shots=4",
    "data.validation_shots=2",
    "data.test_shots=3",
    "data.batch_size=16",
    "data.steps_per_epoch=10",
]
FAST = [
    *SIZES,
    "folds=4",
    "trainer.max_epochs=2",
    "trainer.precision=32-true",
    "model.width=8",
    "task.ratio.width=8",
    "task.ratio.norm=group",
    "task.ratio.batch_size=16",
    "task.ratio.lr=0.01",
    "task.ratio.max_epochs=12",
    "task.ratio.patience=12",
    "logger=none",
]


@pytest.fixture(scope="module")
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("augmentation")
    real = write_real(folder / "cache" / "omniglot-evaluation")
    write_generated(folder / "cache" / "omniglot-dagan", real)
    return folder


@pytest.fixture(scope="module")
def study(cwd: Path) -> dict[str, Any]:
    """Two seeds of the study, and its file."""
    code, out, err = launch(
        "tools/study.py", "omniglot", "--seeds", 2, "--out", "study.json", *FAST, cwd=cwd, timeout=900
    )
    assert (code, err) == (0, ""), out + err
    return json.loads((cwd / "study.json").read_text())


def test_the_table_has_every_regime_and_paired_differences(cwd: Path, study: dict[str, Any]) -> None:
    rows = {(r["name"], r["metric"]): r for r in study["rows"]}
    runs = [json.loads(file.read_text()) for file in sorted(cwd.glob("runs/omniglot/*/augmentation.json"))]
    values = {
        name: [next(r for r in run["regimes"] if r["name"] == name)["test_accuracy"] for run in runs]
        for name in REGIMES
    }
    for name in REGIMES:
        assert rows[name, "accuracy"]["mean"] == pytest.approx(np.mean(values[name]))
        assert rows[name, "accuracy"]["n"] == 2
        assert rows[name, "seconds"]["mean"] > 0
    for first, second in (("both_weighted", "both"), ("both_weighted", "real")):
        found = rows[f"{first}-{second}", "accuracy"]
        expected = ttest_rel(values[first], values[second]).confidence_interval(0.95)
        assert found["mean"] == pytest.approx(np.subtract(values[first], values[second]).mean())
        if np.ptp(np.subtract(values[first], values[second])) > 0:  # scipy has no interval of equal differences
            assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
    steps = {r["steps"] for run in runs for r in run["regimes"]}
    assert steps == {20}  # the same for every regime
    assert {f.name for f in cwd.glob("*.png")} == {"omniglot-accuracy.png", "omniglot-ranked.png"}


def test_what_the_data_does_not_have_weighs_less(cwd: Path, study: dict[str, Any]) -> None:
    """Every second generated row is a dot on empty paper."""
    for folder in cwd.glob("runs/omniglot/*"):
        kept = np.load(folder / "log_ratio.npz")
        weights = np.exp(kept["log_ratio"])
        good, bad = weights[kept["row"] % 2 == 0], weights[kept["row"] % 2 == 1]
        assert good.mean() > 1.2 * bad.mean()  # four classifiers of 8 drawings each: a clear sign, no exact ratio
        record = json.loads((folder / "augmentation.json").read_text())
        assert record["ratio"]["accuracy"] > 0.6
        assert 1 <= record["weights"]["ess"] <= record["num_generated"]


def lines(folder: Path, name: str) -> list[float]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in found if name in line]


def test_two_processes_train_as_one(cwd: Path) -> None:
    cache = SampleCache(cwd / "cache" / "omniglot-dagan")
    log_ratio = torch.randn(len(cache), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    np.savez(cwd / "given.npz", log_ratio=log_ratio.numpy())
    # in float64: what is left is the order of sums, of which float32 and AdamW's quotients make 1e-3 in a few steps
    options = [*FAST, "model.norm=group", "trainer.precision=64-true", "experiment=omniglot"]
    options += ["data.log_ratio=given.npz", "task.regimes=[both_weighted]"]
    with contextlib.chdir(cwd):
        module("train.py").train([*options, "run_dir=runs/one"])
    code, out, err = launch("train.py", "trainer=ddp_cpu", *options, "run_dir=runs/two", cwd=cwd, timeout=900)
    assert (code, err) == (0, ""), out + err
    for name in ("train/loss", "val/log_loss"):
        one, two = (lines(cwd / "runs" / run, f"both_weighted/{name}") for run in ("one", "two"))
        assert len(one) >= 2
        assert two == pytest.approx(one, rel=1e-6)  # Lightning keeps what is logged in float32


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (["data.test_shots=4"], "drawings, 4 for train + 2 for validation + 4 for test are asked for"),
        (["data.generated=cache/other"], "data.generated was made from other drawings"),
        (["data.log_ratio=short.npz"], "(5,) values for 216 generated rows: they are of another cache"),
        (["data.log_ratio=rows.npz"], "generated rows that train have no value"),
        (["data.log_ratio=fraction.npz"], "row is float64 (216,), expected whole numbers (n,)"),
        (["data.log_ratio=negative.npz"], "weights must be ≥ 0"),
        (["data.log_ratio=zero.npz"], "weights: all are zero"),
        (["data.log_ratio=log_ratio/none"], "no column 'log_ratio/none'"),
        (["task.regimes=[both, weighted]"], "task.regimes[1]=weighted: expected one of real, generated"),
        (["task.flatten=-1"], "flatten=-1.0 must be finite"),
        (["task.coefficient=-1"], "task.coefficient=-1.0 must be finite"),
        (["folds=2"], "needs 3 … data.shots=4 folds"),
    ],
)
def test_mistakes_are_told_before_training(
    cwd: Path, changed: list[str], told: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cwd)
    if not Path("cache/other").exists():
        other = write_real(Path("other"), seed=7)
        write_generated(Path("cache/other"), other)
        np.savez("short.npz", weights=np.ones(5))
        np.savez("rows.npz", log_ratio=np.zeros(5), row=np.arange(5))
        np.savez("fraction.npz", log_ratio=np.zeros(216), row=np.arange(216.0))
        np.savez("negative.npz", weights=-np.ones(216, ">f8"))
        np.savez("zero.npz", weights=np.zeros(216))
    before = set(Path("runs").glob("*/*")) if Path("runs").exists() else set()
    assert told in refused(capfd, "train.py", "experiment=omniglot", *FAST, *changed)
    assert (set(Path("runs").glob("*/*")) if Path("runs").exists() else set()) == before
