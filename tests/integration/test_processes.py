"""Two processes give the run of one: the same rows, the same numbers, one folder."""

import contextlib
import json

import pytest
import torch
from integration.launch import launch, module

from lfiw.data import SampleCache

OPTIONS = [
    "trainer.max_epochs=2",
    "trainer.progress=false",
    "evaluation.figures=false",
    "evaluation.weightings=[{name: self-normalised}, {name: half, flatten: 0.5}]",
    "data.evaluation_batch_size=301",
]
# The gradients of two half batches are summed in another order: float32 rounding, carried through two epochs of AdamW,
# which divides by the root of small numbers.
LEARNED = 2e-3
STREAMED = 1e-10  # sums in float64 of the same features


@pytest.fixture(scope="module")
def cwd(tmp_path_factory):
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def alone(cwd):
    with contextlib.chdir(cwd):
        module("train.py").train([*OPTIONS, "logger=none", "run_dir=runs/digits/alone"])
    return cwd / "runs/digits/alone"


@pytest.fixture(scope="module")
def two(cwd, alone):
    code, out, err = launch("train.py", "trainer=ddp_cpu", *OPTIONS, "logger=wandb", "run_dir=runs/digits/two", cwd=cwd)
    assert (code, err) == (0, ""), out + err
    assert out.count("run folder:") == 1
    return cwd / "runs/digits/two"


def evaluation(folder):
    return json.loads((folder / "evaluation.json").read_text())


def check_same(folder, alone):
    ours, theirs = evaluation(folder), evaluation(alone)
    for name in ("num_real", "num_generated", "num_reference", "extractors"):
        assert ours[name] == theirs[name]
    for metric, value in theirs["reference"].items():
        assert ours["reference"][metric]["value"] == pytest.approx(value["value"], rel=STREAMED, abs=1e-13)
    for a, b in zip(ours["weightings"], theirs["weightings"], strict=True):
        tolerance = STREAMED if a["name"] == "uniform" else LEARNED
        assert a["name"] == b["name"]
        assert a["ess"] == pytest.approx(b["ess"], rel=tolerance)
        for metric, value in b["metrics"].items():
            assert a["metrics"][metric]["value"] == pytest.approx(value["value"], rel=tolerance, abs=1e-13), metric


def check_columns(cwd, folder, alone):
    for table, rows in (("digits-real", 1797), (next((cwd / "cache").glob("digits-generated-*")).name, 10_000)):
        cache = SampleCache(cwd / "cache" / table)
        cache.verify()
        ours, theirs = cache[f"log_ratio/{folder.name}"], cache[f"log_ratio/{alone.name}"]
        assert len(ours) == rows
        # in the order of the table, each row its own: a shifted or repeated block would be off by whole units
        assert (ours - theirs).abs().max() < 0.05
        assert torch.corrcoef(torch.stack([ours, theirs]))[0, 1] > 0.9999


def check_lines(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line) for line in lines if "val/log_loss" in line]
    assert len(losses) == 2
    assert len({line["step"] for line in losses}) == 2
    assert len([line for line in lines if "test/uniform/fid" in line]) == 1
    return [line["val/log_loss"] for line in losses]


def test_two_processes_train_as_one(cwd, alone, two):
    assert sorted(entry.name for entry in two.parent.iterdir()) == ["alone", "two"]
    assert check_lines(two) == pytest.approx(check_lines(alone), rel=1e-4)
    check_columns(cwd, two, alone)
    check_same(two, alone)


def test_one_process_talks_to_wandb(two):
    assert len(list((two / "wandb").glob("offline-run-*"))) == 1


@pytest.mark.slow
def test_two_processes_evaluate_as_one(cwd, alone, two):
    expected = evaluation(alone)
    two_processes = ["trainer.devices=2", "trainer.strategy=ddp", "logger.name=none"]
    code, out, err = launch("evaluate.py", "run=runs/digits/alone", *two_processes, cwd=cwd)
    assert (code, err) == (0, ""), out + err
    ours = evaluation(alone)
    for a, b in zip(ours["weightings"], expected["weightings"], strict=True):
        # the log-ratios are read from the cache: every number is a sum of the same terms
        for metric, value in b["metrics"].items():
            assert a["metrics"][metric]["value"] == pytest.approx(value["value"], rel=STREAMED, abs=1e-13), metric


@pytest.mark.slow
@pytest.mark.parametrize("prepared", [True, False])
def test_started_by_torchrun(cwd, alone, tmp_path, prepared):
    """With the caches that are there, and in a new folder; twice, with the id that torchrun gives every run."""
    folder = cwd if prepared else tmp_path
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29671")
    arguments = [*OPTIONS, "trainer.devices=2", "trainer.strategy=ddp", "logger=none", "experiment=digits"]
    before = set((folder / "runs/digits").glob("*"))
    for _ in range(2 if prepared else 1):
        code, out, err = launch("train.py", *arguments, cwd=folder, launcher=launcher)
        assert code == 0, out + err
        assert out.count("run folder:") == 1
    made = set((folder / "runs/digits").glob("*")) - before
    assert len(made) == (2 if prepared else 1)
    for run in made:
        check_lines(run)
        check_same(run, alone)
        if prepared:
            check_columns(cwd, run, alone)


@pytest.mark.slow
def test_a_mistake_is_told_once(cwd, alone):
    """The second process ends with the first."""
    code, out, err = launch("train.py", "trainer=ddp_cpu", *OPTIONS, "logger=none", "data.batch_size=6", cwd=cwd)
    assert code == 2, out + err
    assert "data.batch_size=6 must be a positive multiple of 4" in err
    assert "Traceback" not in err
