"""Training a generator and filling caches, by the scripts as a user runs them."""

import json
import os

import fsspec
import numpy as np
import pytest
import scipy.linalg
import torch
from integration.launch import launch, module, refused
from PIL import Image

from lfiw.data import CacheWriter, SampleCache
from lfiw.data.batches import mix_seeds

OFFLINE = ["logger=none", "trainer.progress=false", "trainer.accelerator=cpu", "trainer.max_epochs=1"]
SMALL = {
    "sngan": ["model.latent=4", "model.width=8", "model.critic_width=8", "model.critic_steps=2"],
    "pixelcnn": ["model.width=4", "model.blocks=1", "model.levels=2", "model.mixtures=2"],
    "vae": ["model.width=8", "model.latent=3"],
}
CODE = (
    "import torch\ndef draw(num, generator, labels=None):\n    return torch.rand(num, 3, 8, 8, generator=generator)\n"
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    images = torch.randint(256, (60, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with CacheWriter("real") as writer:
        writer.write({"image": images})
    (tmp_path / "mine.py").write_text(CODE)
    return tmp_path


def cache(*arguments):
    module("tools/cache_samples.py").main([str(a) for a in arguments])


@pytest.mark.parametrize("name", SMALL)
def test_trained_and_cached(here, name, capsys):
    run = module("train.py").train
    options = [f"experiment={name}", "data.real=real", "data.batch_size=10", "task.grid=4", f"run_dir={name}"]
    metrics, _ = run([*options, *SMALL[name], *OFFLINE])
    expected = "val/critic_gap" if name == "sngan" else "val/bits_per_dim"
    assert np.isfinite(metrics[expected])
    record = json.loads((here / name / "training.json").read_text())
    assert record["metrics"][expected] == metrics[expected]
    assert (record["epochs"], record["processes"]) == (1, 1)
    # the first epoch's seconds, as the checkpoint has them: what came after it is not in it
    saved = torch.load(here / name / "checkpoints/last.ckpt", weights_only=True)["callbacks"]["Timer"]
    first = saved["time_elapsed"]["train"]
    assert 0 < first <= record["seconds"]
    with Image.open(here / name / "samples/epoch-0000.png") as picture:
        assert picture.size == (2 * (2 * 9 + 1), 2 * (2 * 9 + 1))
    cache("trained", name, "--num", 30, "--out", "made", "--batch-size", 7)
    told = capsys.readouterr().out
    assert "made: 30 rows, image uint8 [1, 8, 8]" in told
    assert "samples per second" in told
    cache("trained", f"{name}/generator.safetensors", "--num", 30, "--out", "again")
    assert SampleCache("made").identity == SampleCache("again").identity
    again, _ = module("evaluate.py").evaluate([f"run={name}"])
    assert again[expected] == pytest.approx(metrics[expected], rel=1e-4)
    run([f"resume={name}", "trainer.max_epochs=2"])
    assert (here / name / "samples/epoch-0001.png").is_file()
    record = json.loads((here / name / "training.json").read_text())
    assert record["epochs"] == 2
    assert record["seconds"] > first  # the first epoch's are counted too


def test_fid_while_training(here):
    """`val/fid` is Fréchet's distance of the samples of fixed seeds to the training images (Heusel et al. 2017)."""
    options = ["experiment=vae", "data.real=real", "data.batch_size=10", "task.grid=0", "run_dir=vae", *SMALL["vae"]]
    fid = ["task.fid_samples=50", "task.fid_extractor=pixels"]
    metrics, objects = module("train.py").train([*options, *fid, *OFFLINE])
    seeds = [torch.Generator().manual_seed(mix_seeds(1, row)) for row in range(50)]
    rows = torch.arange(len(objects["datamodule"].subsets["train"]))
    sides = (
        objects["generator"].sample_each(seeds)["image"],
        objects["datamodule"].subsets["train"].read(rows, ["image"])["image"],
    )
    (mean, cov), (other_mean, other_cov) = (
        (x.mean(0), np.cov(x, rowvar=False)) for x in (s.flatten(1).numpy().astype(float) / 255 for s in sides)
    )
    root = scipy.linalg.sqrtm(cov @ other_cov)
    expected = np.square(mean - other_mean).sum() + np.trace(cov + other_cov - 2 * root.real)
    assert metrics["val/fid"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_compiled_networks_are_the_same(here, name):
    """In processes of their own: the type checks of these tests cannot be compiled."""
    options = [f"experiment={name}", "data.real=real", "data.batch_size=10", "task.grid=0", *SMALL[name], *OFFLINE]
    for run, compiled in (("plain", "false"), ("compiled", "true")):
        arguments = [*options, f"optimizer.compile={compiled}", f"run_dir={run}"]
        code, _, err = launch("train.py", *arguments, cwd=here, timeout=900)
        assert code == 0, err
    plain, compiled = (json.loads((here / run / "training.json").read_text()) for run in ("plain", "compiled"))
    assert compiled["metrics"] == pytest.approx(plain["metrics"], rel=1e-2)
    cache("trained", "compiled", "--num", 10, "--out", "made")
    assert len(SampleCache("made")) == 10


def test_two_processes_of_torchrun_write_the_same(here):
    """Started as users start it; the identity does not tell how many processes there were."""
    arguments = ["callable", "mine.py:draw", "--num-samples", 5000, "--shard-mb", 1]
    code, out, err = launch("tools/cache_samples.py", *arguments, "--out", "one", "--verify", cwd=here)
    assert code == 0, err
    assert "verified" in out
    code, out, err = launch(
        "tools/cache_samples.py", *arguments, "--out", "two", cwd=here,
        launcher=("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
    )  # fmt: skip
    assert code == 0, err
    assert out.count("5,000 rows") == 1
    assert SampleCache(here / "one").identity == SampleCache(here / "two").identity


def test_looking_at_a_cache(here, capsys):
    cache("--callable", "mine.py:draw", "--num", 20, "--out", "made")
    capsys.readouterr()
    cache("--info", "made")
    told = capsys.readouterr().out
    assert "made: 20 rows, image uint8 [3, 8, 8]" in told
    assert "callable: mine.py:draw" in told
    assert "seed: 0" in told
    cache("verify", "made")
    assert "every SHA-256 matches" in capsys.readouterr().out
    cache("callable", "mine.py:draw", "--num", 5, "--out", "made", "--append")
    assert "made: 25 rows" in capsys.readouterr().out
    shard = next((here / "made/data").iterdir())
    content = shard.read_bytes()
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert run_refused(capsys, "verify", "made").endswith("write this cache or column again")


def run_refused(capsys, *arguments):
    return refused(capsys, "tools/cache_samples.py", *arguments)


def test_to_object_storage_and_training_from_there(here, capsys):
    cache("callable", "mine.py:draw", "--num", 300, "--out", "memory://task/generated", "--verify")
    assert "memory://task/generated: 300 rows" in capsys.readouterr().out
    assert not list((here / "home/lfiw/outgoing").iterdir())
    told = run_refused(capsys, "callable", "mine.py:draw", "--num", 3, "--out", "memory://task/generated")
    assert "memory://task/generated: exists already" in told
    told = run_refused(capsys, "callable", "mine.py:draw", "--num", 3, "--out", "memory://task/a", "--append")
    assert "--append goes with folders" in told
    np.save(here / "real.npy", np.random.default_rng(0).integers(256, size=(300, 3, 8, 8), dtype=np.uint8))
    cache("npz", "real.npy", "--out", "memory://task/real")
    options = ["experiment=images", "data.real=memory://task/real", "data.generated=memory://task/generated"]
    small = ["folds=1", "evaluation.figures=false", "evaluation.weightings=[]", "run_dir=ratio"]
    metrics, _ = module("train.py").train([*options, *small, *OFFLINE])
    assert np.isfinite(metrics["val/log_loss"])
    assert "log_ratio/ratio" in SampleCache("memory://task/generated").columns
    fsspec.filesystem("memory").rm("/task", recursive=True)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["callable", "mine.py:draw", "--out", "a"], ["--num-samples N"]),
        (["callable", "mine:nothing", "--num", 3, "--out", "a"], ["'nothing'"]),
        (["trained", "none", "--num", 3, "--out", "a"], ["none does not exist", "run folder"]),
        (["trained", "mine.py", "--num", 3, "--out", "a"], ["mine.py does not hold a generator"]),
        (["cache", "none", "--out", "a"], ["none: no cache there"]),
        (["zip", "none.zip", "--out", "a"], ["none.zip: no such file"]),
        (["exported", "none.pt2", "--num", 3, "--out", "a"], ["none.pt2: no such file"]),
        (["pipeline", "real", "--num", 3, "--out", "a"], ["model_index.json"]),
        (["callable", "mine.py:draw", "--num", 3, "--out", "real"], ["real: exists already", "--overwrite"]),
        (["info", "none"], ["none: no cache there"]),
        (["callable", "mine.py:draw", "--num", 3, "--out", "nonsense://a"], ["Protocol not known"]),
    ],
)
def test_mistakes_of_cache_samples(here, capsys, arguments, names):
    told = run_refused(capsys, *arguments)
    for name in names:
        assert name in told
    assert not (here / "a").exists()


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["experiment=toy", "task=generator", "model=vae"], ["task=generator needs data=real"]),
        (["experiment=vae", "model=mlp"], ["needs model=sngan"]),
        (["experiment=vae", "folds=3"], ["folds=1"]),
        (["experiment=vae", "data.real=none"], ["none: no cache there"]),
        (["experiment=vae", "data.real=real", "data.validation=0"], ["data.validation=0"]),
        (["experiment=vae", "data.real=real", "task.grid=-1"], ["task.grid=-1"]),
        (["experiment=vae", "data.real=real", "task.fid_samples=1"], ["task.fid_samples=1 must be 0 or at least 2"]),
        (["experiment=vae", "data.real=real", "model.width=9"], ["multiple of 8"]),
        (["experiment=vae", "data.real=real", "optimizer.betas=[0.5]"], ["optimizer.betas=[0.5]"]),
        (["experiment=sngan", "data.real=real", "trainer.gradient_clip=1"], ["trainer.gradient_clip"]),
        (["experiment=sngan", "data.real=real", "trainer.strategy=ddp"], ["trainer.strategy=ddp", "one process"]),
        (["experiment=sngan_compact", "data.real=real"], ["model.features"]),
        (["experiment=sngan", "data.real=real", "model.critic=projected", "model.features=a"], ["(3, 32, 32)"]),
        (["experiment=digits", "data=real", "data.real=real"], ["data.name=real", "task=generator"]),
    ],
)
def test_mistakes_of_training(here, capsys, arguments, names):
    told = refused(capsys, "train.py", *arguments, *OFFLINE)
    for name in names:
        assert name in told
    assert not os.path.exists("runs") or not list((here / "runs").glob("*/*"))
