"""Whatever a user gets wrong ends with exit code 2 and one line, and leaves nothing behind."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from integration.launch import QUICK, launch, module, refused

from lfiw import InputError
from lfiw.data import CacheWriter, SampleCache

OWN = [
    "experiment=images",
    "folds=1",
    "metrics.inception_score.classifier=null",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=1",
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cached(digits, here):
    """The option for the digits' caches, made by the shared run."""
    return [f"data.folder={digits.cwd / 'cache'}", "trainer.max_epochs=1", *QUICK]


def no_run(here):
    return not list(here.glob("runs/*/*"))


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["data.batchsize=8"], ["data.batchsize", "did you mean data.batch_size"]),
        (["lr=1"], ["lr", "did you mean optimizer.lr"]),
        (["dta=digits"], ["dta", "did you mean data"]),
        (["model=resnt"], ["model=resnt", "did you mean resnet"]),
        (["experiment=dgits"], ["experiment=dgits", "did you mean digits"]),
        (["digits"], ["'digits'", "key=value"]),
        (["--verbose"], ["'--verbose'", "--help"]),
        (["optimizer.lr=fast"], ["optimizer.lr", "Float"]),
        (["data.mixing=both"], ["data.mixing=both", "balanced, natural"]),
        (["experiment=images"], ["data.real"]),
        (["seed=-1"], ["seed=-1", "must lie in [0, 4294967295]"]),
        (["data.split_seed=-1"], ["data.split_seed=-1", "must lie in [0, 4294967295]"]),
        (["evaluation.weightings=[{name: a, flat: 1}]"], ["flat", "flatten"]),
        (["task=toy"], ["task=toy", "data=toy"]),
        (["data=toy"], ["data.name=toy", "digits, cached or skewed"]),
        (["resume=nowhere"], ["nowhere", "not a run folder"]),
        (["resume=a", "run_dir=b"], ["run_dir"]),
    ],
)
def test_configuration(here, capfd, arguments, names):
    told = refused(capfd, "train.py", *arguments)
    for name in names:
        assert name in told
    assert no_run(here)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["evaluation.weightings=[{name: a}, {name: a}]"], ["evaluation.weightings", "'a'"]),
        (["evaluation.weightings=[{name: uniform}]"], ["evaluation.weightings", "'uniform'"]),
        (["evaluation.weightings=[{name: a, flatten: -1}]"], ["flatten=-1"]),
        (["evaluation.weightings=[{name: a, clip: .nan}]"], ["clip=nan"]),
        (["evaluation.extractors=[vgg]"], ["'vgg'", "pixels, standardised, hog, classifier"]),
        (["evaluation.extractors=[]"], ["evaluation.extractors"]),
        (["evaluation.neighbours=-1"], ["evaluation.neighbours=-1"]),
        (["metrics.inception_score.classifier=pixels"], ["metrics.inception_score.classifier=pixels", "null"]),
        (["features.classifier_weights=none.safetensors"], ["none.safetensors", "no such file"]),
        (["trainer.accelerator=warp"], ["accelerator=warp"]),
        (["trainer.precision=foo"], ["precision=foo"]),
        (["trainer.strategy=foo"], ["strategy=foo"]),
        (["trainer.devices=0"], ["devices=0"]),
        (["trainer.max_epochs=0"], ["trainer.max_epochs=0"]),
        (["trainer.gradient_clip=-1"], ["trainer.gradient_clip=-1"]),
        (["data.batch_size=3"], ["data.batch_size=3", "multiple of 2"]),
        (["data.batch_size=0"], ["data.batch_size=0"]),
        (["data.evaluation_batch_size=0"], ["data.evaluation_batch_size=0"]),
        (["data.num_workers=-1"], ["data.num_workers=-1"]),
        (["data.fractions.train=0.9"], ["at most 1"]),
        (["data.fractions.train=-0.1"], ["-0.1"]),
        (["data.fractions.validation=0"], ["data.fractions.validation=0"]),
        (["data.fractions.evaluation=0"], ["data.fractions.evaluation=0"]),
        (["data.fractions.validation=0.00001"], ["validation", "1797 rows", "larger fraction"]),
        (["data.input=features/none"], ["'features/none'", "image"]),
        (["data.input=../image"], ["'../image'"]),
        (["data.augment=crop_flip", "data.input=features/pixels"], ["augment"]),
        (["optimizer.lr=-1"], ["optimizer", "-1"]),
        (["optimizer.weight_decay=-1"], ["optimizer", "-1"]),
        (["optimizer.ema_decay=1"], ["optimizer.ema_decay=1"]),
        (["model.dropout=2"], ["model.dropout=2.0"]),
        (["model.depth=-1"], ["depth"]),
        (["data.keep=[1, 0]"], ["data.keep"]),
        (["data.bandwidth=0"], ["data.bandwidth=0"]),
        (["run_dir=a/b c"], ["run_dir=a/b c"]),
        (["run_dir=/dev/null/run"], ["/dev/null/run", "cannot write"]),
        (["run_dir=/proc/run"], ["/proc/run", "cannot write"]),
    ],
)
def test_values_are_refused_before_the_training(here, cached, capfd, arguments, names):
    told = refused(capfd, "train.py", *cached, *arguments)
    for name in names:
        assert name in told
    assert no_run(here)
    assert not (here / "a").exists()


@pytest.mark.parametrize("folder", ["/dev/null/cache", "/proc/cache"])
def test_a_cache_folder_that_cannot_be_written(here, capfd, folder):
    assert "cannot write there" in refused(capfd, "train.py", *QUICK, f"data.folder={folder}")
    assert no_run(here)


def test_no_gpu(here, cached, capfd):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    told = refused(capfd, "train.py", *cached, "trainer.accelerator=gpu")
    assert "accelerator=gpu" in told
    assert "trainer=default" in told
    assert no_run(here)


def test_training_that_diverges(here, cached, capfd):
    told = refused(capfd, "train.py", *cached, "optimizer.lr=1e30", "model.spectral_norm=false")
    assert "diverged" in told
    assert "lower optimizer.lr" in told


def test_a_loss_that_is_no_number(here, cached, capfd):
    """The rows of the batch are kept, in a run that is none yet."""
    told = refused(capfd, "train.py", *cached, "loss=kliep", "optimizer.lr=1e4", "model.spectral_norm=false")
    assert "diverged at step" in told
    assert "lower optimizer.lr" in told
    (file,) = here.glob("runs/digits/*/not_finite.json")
    assert str(file.relative_to(here)) in told
    found = json.loads(file.read_text())
    real, generated = (Path(entry["table"]).name for entry in found["rows"])
    assert real == "digits-real"
    assert generated.startswith("digits-generated-")
    assert "no checkpoint" in refused(capfd, "evaluate.py", f"run={file.parent}", "logger.name=none", *cached[:1])


def table(path, images):
    with CacheWriter(path) as writer:
        writer.write({"image": torch.as_tensor(images)})
    return path


@pytest.fixture
def pair(here):
    draw = np.random.default_rng(0)
    for name in ("real", "generated"):
        table(here / name, draw.integers(0, 255, (60, 1, 8, 8)).astype(np.uint8))
    return [*OWN, "model=mlp", "data.augment=none", "data.real=real", "data.generated=generated", *QUICK]


def shard(here, table="generated"):
    return here / table / "data/00000-00000.safetensors"


def test_damaged_caches(here, pair, capfd):
    content = shard(here).read_bytes()
    shard(here).write_bytes(content[:-10])
    told = refused(capfd, "train.py", *pair)
    assert "generated/data/00000-00000.safetensors" in told
    assert "truncated" in told
    assert "write this cache" in told
    shard(here).write_bytes(content[:-1] + b"\0")
    with pytest.raises(InputError, match="SHA-256 differs"):
        SampleCache(here / "generated").verify()
    shard(here).unlink()
    assert "the shard is missing" in refused(capfd, "train.py", *pair)
    (here / "generated/manifest.json").write_text("{")
    assert "manifest.json" in refused(capfd, "train.py", *pair)
    shutil.rmtree(here / "generated")
    assert "generated" in refused(capfd, "train.py", *pair)
    (here / "generated").mkdir()
    assert "generated" in refused(capfd, "train.py", *pair)
    assert no_run(here)


def test_samples_that_do_not_match(here, pair, capfd):
    shutil.rmtree(here / "generated")
    table(here / "generated", np.zeros((60, 3, 8, 8), np.uint8))
    told = refused(capfd, "train.py", *pair)
    assert "(1, 8, 8)" in told
    assert "(3, 8, 8)" in told
    shutil.rmtree(here / "generated")
    table(here / "generated", np.zeros((60, 1, 8, 8), np.float32))
    told = refused(capfd, "train.py", *pair)
    assert "torch.uint8" in told
    assert "torch.float32" in told
    assert no_run(here)


def test_classifier_without_weights(pair, here, capfd):
    told = refused(capfd, "train.py", *pair, "metrics.inception_score.classifier=classifier")
    assert "features.classifier_weights" in told
    assert no_run(here)


def test_caches_of_vectors(here, pair, capfd):
    np.save("v.npy", np.random.default_rng(0).normal(size=(60, 4)))
    module("tools/cache_samples.py").main(["npz", "v.npy", "--out", "v"])
    told = refused(capfd, "train.py", *pair, "data.real=v", "data.generated=v")
    assert "expected images (channels, height, width), found shape (4,)" in told
    np.save("n.npy", np.full((60, 4), np.nan))
    told = refused(capfd, "tools/cache_samples.py", "npz", "n.npy", "--out", "n")
    assert "n.npy" in told
    assert not (here / "n").exists()
    assert no_run(here)


def test_columns_of_a_cache_that_was_written_again(here, pair, capfd):
    for name in ("real", "generated"):
        cache = SampleCache(here / name)
        cache.add_column("features/mean", cache["image"].float().mean((1, 2, 3))[:, None], stamp={"name": "mean"})
    kept = here / "generated/columns"
    shutil.move(kept, here / "columns")
    shutil.rmtree(here / "generated")
    table(here / "generated", np.ones((60, 1, 8, 8), np.uint8))
    shutil.move(here / "columns", kept)
    told = refused(capfd, "train.py", *pair, "data.input=features/mean")
    assert "another version of the table" in told
    assert "compute it again" in told


def test_a_split_without_rows(here, capfd, pair):
    shutil.rmtree(here / "real")
    table(here / "real", np.zeros((2, 1, 8, 8), np.uint8))
    assert "has no row" in refused(capfd, "train.py", *pair)
    assert no_run(here)


@pytest.fixture
def run(digits, here):
    """A copy of the shared run, whose caches lie elsewhere."""
    shutil.copytree(digits.folder, here / "runs/digits/run", ignore=shutil.ignore_patterns("wandb*"))
    return here / "runs/digits/run"


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["run=runs/none"], ["runs/none", "not a run folder"]),
        (["run=/dev/null"], ["/dev/null"]),
        (["runs/none"], ["runs/none", "not a run folder"]),
        (["runs/a", "run=runs/b"], ["runs/a and runs/b", "compare=runs/a,runs/b"]),
        (["data=digits"], ["data=digits"]),
        (["evaluation.weights=1"], ["evaluation.weights"]),
        (["--fast"], ["'--fast'"]),
        (["evaluation.extractors=[vgg]"], ["'vgg'"]),
        (["evaluation.weightings=[{name: a}, {name: a}]"], ["'a'"]),
        # rows that trained the classifier would be scored
        (["data.split_seed=1"], ["data.split_seed", "train a new run"]),
        (["data.fractions.evaluation=0.2"], ["data.fractions", "train a new run"]),
        (["data.num_generated=100"], ["data.num_generated"]),
    ],
)
def test_evaluate(digits, run, capfd, arguments, names):
    before = snapshot(run)
    told = refused(capfd, "evaluate.py", "logger.name=none", f"data.folder={digits.cwd / 'cache'}", *arguments)
    for name in names:
        assert name in told
    after = snapshot(run)
    after.pop(run / "metrics.jsonl"), before.pop(run / "metrics.jsonl")
    assert after == before


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_checkpoint_that_is_not_one(digits, run, capfd, content):
    file = run / "checkpoints/best.ckpt"
    if content is None:
        torch.save({"state_dict": {}}, file)
    else:
        file.write_bytes(content)
    np.save("x.npy", np.zeros((3, 8, 8), np.uint8))
    for script, *arguments in (
        ("tools/score.py", f"run={run}", "x.npy", "--out", "w.npz"),
        ("tools/score.py", f"run={file}", "x.npy", "--out", "w.npz"),
        ("evaluate.py", f"run={run}", "logger.name=none", f"data.folder={digits.cwd / 'cache'}"),
    ):
        assert "best.ckpt" in refused(capfd, script, *arguments)
    assert not (run.parents[2] / "w.npz").exists()


@pytest.mark.parametrize(
    ("array", "options", "names"),
    [
        (np.zeros((3, 8, 8, 3), np.uint8), [], ["(n, 1, 8, 8)", "(3, 3, 8, 8)"]),
        (np.zeros((3, 9, 9), np.uint8), [], ["(n, 1, 8, 8)"]),
        (np.zeros((3, 8)), [], ["'image'", "vector"]),
        (np.zeros((0, 8, 8), np.uint8), [], ["no samples"]),
        (np.full((3, 8, 8), np.nan, np.float32), [], ["x.npy"]),
        (np.zeros((3, 8, 8), np.uint8), ["--flatten", "-1"], ["flatten=-1"]),
        (np.zeros((3, 8, 8), np.uint8), ["--out", "w.txt"], ["w.txt", ".npz"]),
        (np.zeros((3, 8, 8), np.uint8), ["--out", "/dev/null/w.npz"], ["/dev/null/w.npz"]),
    ],
)
def test_score(run, here, capfd, array, options, names):
    np.save("x.npy", array)
    told = refused(capfd, "tools/score.py", f"run={run}", "x.npy", "--out", "w.npz", *options)
    for name in names:
        assert name in told
    assert not list(here.glob("*w.*"))


def test_no_run_yet(here, capfd):
    np.save("x.npy", np.zeros((3, 8, 8), np.uint8))
    assert "run train.py first" in refused(capfd, "evaluate.py")
    assert "run train.py first" in refused(capfd, "tools/score.py", "x.npy", "--out", "w.npz")
    assert "run=none" not in refused(capfd, "tools/score.py", "run=none", "x.npy", "--out", "w.npz")
    assert sorted(entry.name for entry in here.iterdir()) == ["x.npy"]


@pytest.mark.parametrize(
    ("script", "arguments", "names"),
    [
        ("tools/score.py", ["x.npy", "--out", "w.npz", "--colour", "red"], ["--colour red", "score.py --help"]),
        ("tools/score.py", ["x.npy"], ["--out"]),
        ("tools/cache_samples.py", ["x.npy", "--out", "w"], ["'x.npy'", "npz", "callable"]),
        ("tools/cache_samples.py", ["npz", "x.npy"], ["--out", "cache_samples.py npz --help"]),
        (
            "tools/cache_samples.py",
            ["callable", "a:b", "--num-samples", "ten", "--out", "w"],
            ["--num-samples", "'ten'"],
        ),
        ("tools/cache_dataset.py", ["cifar11", "--split", "train", "--out", "w"], ["'cifar11'", "cifar10"]),
        ("tools/cache_dataset.py", ["cifar10", "--out", "w"], ["--split", "cache_dataset.py cifar10 --help"]),
        ("tools/resample.py", [], ["--cache", "--log-ratio", "--num"]),
        ("tools/sample.py", ["--num", "many"], ["--num"]),
    ],
)
def test_arguments_of_the_tools(here, capfd, monkeypatch, script, arguments, names):
    """One line, as everywhere, where argparse would print its usage."""
    monkeypatch.setattr("sys.argv", [Path(script).name])
    told = refused(capfd, script, *arguments)
    for name in names:
        assert name in told
    assert not list(here.iterdir())


def test_resume_with_other_rows(digits, run, capfd):
    told = refused(capfd, "train.py", f"resume={run}", "logger.name=none", "data.split_seed=3")
    assert "data.split_seed" in told
    record = json.loads((run / "evaluation.json").read_text())
    assert record == digits.record


def test_as_a_process(here):
    """The exit code and the streams that a shell sees."""
    code, out, err = launch("train.py", "optimiser.lr=1", cwd=here)
    assert (code, out) == (2, "")
    assert err.startswith("error: optimiser")
    assert err.count("\n") == 1
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("compared", "names"),
    [
        ("A", ["compare=", "two or more"]),
        ("", ["compare=", "two or more"]),
        ("A,A/", ["named twice"]),
        ("A,nowhere", ["nowhere", "not a run folder"]),
        ("A,B", ["B was not evaluated", "evaluate.py run="]),
        ("A,C", ["C/evaluation.json", "score the run again"]),
        ("A,D", ["D", "cannot read"]),
    ],
)
def test_runs_that_cannot_be_compared(digits, here, capfd, compared, names):
    """A: a run; B: not evaluated; C: of another version; D: damaged."""
    for name in "ABCD":
        (here / name).mkdir()
        shutil.copy(digits.folder / "config.yaml", here / name)
    shutil.copy(digits.folder / "evaluation.json", here / "A")
    (here / "C/evaluation.json").write_text('{"experiment": "digits"}')
    (here / "D/evaluation.json").write_text("{")
    told = refused(capfd, "evaluate.py", f"compare={compared}")
    for name in names:
        assert name in told
    assert not (here / "runs").exists()


def test_a_comparison_takes_no_other_key(here, capfd):
    assert "takes no evaluation.paper=true" in refused(capfd, "evaluate.py", "compare=A,B", "evaluation.paper=true")


def test_exponents_are_refused_before_the_training(here, cached, capfd):
    assert "evaluation.exponents[0]=-1.0" in refused(capfd, "train.py", *cached, "evaluation.exponents=[-1]")
    assert no_run(here)
