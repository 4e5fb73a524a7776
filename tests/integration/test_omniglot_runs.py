"""Weighted augmentation as a user runs it: the source ratio, every regime, two processes, and mistakes."""

import contextlib
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawings import write_generated, write_real
from integration.launch import ROOT, launch, module, refused
from scipy.stats import ttest_rel

from lfiw.data import SampleCache
from lfiw.schemas import REGIMES
from lfiw.tasks.augmentation.source_ratio import SourceRatio

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
    "data.ratio=runs/ratio/ratio.safetensors",
    "trainer.max_epochs=2",
    "trainer.precision=32-true",
    "model.width=8",
    "logger=none",
]
RATIO = [
    "experiment=omniglot_ratio",
    "run_dir=runs/ratio",
    "data.embedding_classes=16",
    "data.validation_classes=4",
    "data.batch_size=16",
    "task.width=16",
    "task.features=16",
    "task.num_classes=4",
    "task.shots=4",
    "trainer.max_epochs=25",
    "logger=none",
]


@pytest.fixture(scope="module")
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("augmentation")
    real = write_real(folder / "cache" / "omniglot-evaluation")
    write_generated(folder / "cache" / "omniglot-dagan", real)
    source = write_real(folder / "cache" / "omniglot-background", classes=28, seed=3)
    write_generated(folder / "cache" / "omniglot-dagan-source", source, each=2)
    with contextlib.chdir(folder):
        module("train.py").train(RATIO)
    return folder


@pytest.fixture(scope="module")
def record(cwd: Path) -> dict[str, Any]:
    """augmentation.json of a run of every regime."""
    with contextlib.chdir(cwd):
        module("train.py").train(["experiment=omniglot", "run_dir=runs/all", *FAST])
    return json.loads((cwd / "runs" / "all" / "augmentation.json").read_text())


def test_every_regime_has_its_accuracy_by_the_same_steps(record: dict[str, Any]) -> None:
    found = {regime["name"]: regime for regime in record["regimes"]}
    assert tuple(found) == REGIMES
    for name, regime in found.items():
        assert 0 <= regime["test_accuracy"] <= 1
        assert regime["steps"] == (0 if name.startswith(("prototypes", "head")) else 20)


def test_auto_is_one_of_the_two_and_says_why(record: dict[str, Any]) -> None:
    found = {regime["name"]: regime for regime in record["regimes"]}
    assert set(record["gates"]) == {"auto", "head_auto"}
    for name, gate in record["gates"].items():
        assert found[name]["test_accuracy"] == found[gate["regime"]]["test_accuracy"]
        assert gate["verdict"] in ("corrects", "nothing to correct", "cannot be corrected with these samples")
        assert "%" in gate["reason"] or "points" in gate["reason"]


def test_what_the_data_does_not_have_weighs_less(cwd: Path, record: dict[str, Any]) -> None:
    """Every second generated row is a dot on empty paper."""
    kept = np.load(cwd / "runs" / "all" / "log_ratio.npz")
    good, bad = (kept["log_ratio"][kept["row"] % 2 == side] for side in (0, 1))
    assert np.median(good) > np.median(bad) + 1
    assert record["ratio"]["auroc"] > 0.6
    assert record["ratio"]["recognised_by_weight"] > record["ratio"]["recognised"]
    assert 1 <= record["weights"]["ess"] <= record["num_generated"]


def test_another_generator_takes_the_embedding_as_it_is(cwd: Path) -> None:
    with contextlib.chdir(cwd):
        _, objects = module("train.py").train(
            [*RATIO[:1], "run_dir=runs/other", *RATIO[2:], "task.embedding=runs/ratio/ratio.safetensors"]
        )
        first = SourceRatio.load(Path("runs/ratio/ratio.safetensors"))
    for name, value in first.embedding.state_dict().items():
        assert torch.equal(objects["ratio"].embedding.state_dict()[name], value)


def test_the_study_pairs_splits_that_both_regimes_have() -> None:
    sys.path.insert(0, str(ROOT / "tools"))
    from studies.omniglot import rows_of

    values = {"both": {0: 0.5, 1: 0.6, 2: 0.55}, "both_drawn": {1: 0.65, 2: 0.7, 3: 0.1}}
    rows = {row["name"]: row for row in rows_of("noise3", values, {}) if row["metric"] == "accuracy"}
    expected = ttest_rel([0.65, 0.7], [0.6, 0.55]).confidence_interval(0.95)
    found = rows["noise3: both_drawn-both"]
    assert (found["n"], found["mean"]) == (2, pytest.approx(0.1))
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))


def lines(folder: Path, name: str) -> list[float]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in found if name in line]


def test_two_processes_train_as_one(cwd: Path) -> None:
    cache = SampleCache(cwd / "cache" / "omniglot-dagan")
    log_ratio = torch.randn(len(cache), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    np.savez(cwd / "given.npz", log_ratio=log_ratio.numpy())
    # in float64: what is left is the order of sums, of which float32 and AdamW's quotients make 1e-3 in a few steps
    options = [*FAST, "model.norm=group", "trainer.precision=64-true", "experiment=omniglot"]
    options += ["data.log_ratio=given.npz", "task.regimes=[both_weighted,both_drawn]"]
    with contextlib.chdir(cwd):
        module("train.py").train([*options, "run_dir=runs/one"])
    code, out, err = launch("train.py", "trainer=ddp_cpu", *options, "run_dir=runs/two", cwd=cwd, timeout=900)
    assert (code, err) == (0, ""), out + err
    for name in itertools.product(("both_weighted", "both_drawn"), ("train/loss", "val/log_loss")):
        one, two = (lines(cwd / "runs" / run, "/".join(name)) for run in ("one", "two"))
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
        (["data.ratio=null"], "regime generated_weighted needs data.ratio=FILE"),
        (["data.ratio=none.safetensors"], "none.safetensors does not exist: make it by train.py"),
        (["data.ratio=null", "data.log_ratio=short.npz"], "regime prototypes needs data.ratio=FILE"),
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
