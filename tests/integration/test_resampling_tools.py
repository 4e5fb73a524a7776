"""tools/resample.py, and its other spelling tools/sample.py, as a user starts them, on the digits of the shared run."""

import json
import os

import numpy as np
import pytest
import torch
from generators.test_generative import module_of
from integration.launch import QUICK, launch, module, refused

from lfiw.cli import run_script
from lfiw.data import CacheWriter, SampleCache
from lfiw.tasks.inputs import Scorer


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def column(digits):
    return f"log_ratio/{digits.folder.name}"


@pytest.fixture
def generated(digits, column):
    """The samples of that run; other tests leave those of other generators beside them."""
    found = (digits.cwd / "cache").glob("digits-generated-*")
    (path,) = (path for path in found if column in SampleCache(path).columns)
    return path


def ended_well(capfd, script, *arguments) -> str:
    capfd.readouterr()
    code = run_script(module(script).main, [str(a) for a in arguments])
    told = capfd.readouterr()
    assert code == 0, told.err
    return told.out


def test_a_set_that_everything_downstream_reads(here, digits, generated, column, capfd):
    """Rows of the samples: no image is copied, no feature computed again, and train.py and evaluate.py take it."""
    told = ended_well(
        capfd,
        "tools/resample.py",
        "--cache",
        generated,
        "--log-ratio",
        column,
        "--pool",
        8,
        "--num",
        600,
        "--out",
        "set",
    )
    assert "set: 600 samples, rows of" in told
    assert "8.0 candidates per sample" in told
    chosen, source = SampleCache("set"), SampleCache(generated)
    assert sum(p.stat().st_size for p in (here / "set").rglob("*") if p.is_file()) < 10_000
    for name in source.columns:
        assert torch.equal(chosen[name], source[name][chosen["row"]])
    assert chosen[column].mean() > source[column].mean() + 0.1  # nearer to the data
    assert chosen.source["resampling"]["pool"] == 8
    chosen.verify()

    features = [name for name in source.columns if name.startswith(("features/", "logits/"))]
    arguments = [
        "experiment=images",
        "folds=1",
        f"data.real={digits.cwd / 'cache' / 'digits-real'}",
        "data.generated=set",
    ]
    arguments += ["trainer.max_epochs=1", "trainer.accelerator=cpu", "evaluation.extractors=[pixels]", *QUICK]
    arguments += ["metrics.inception_score.classifier=null", "run_dir=runs/resampled"]
    code, out, err = launch("train.py", *arguments, cwd=here)
    assert code == 0, out + err
    chosen = SampleCache("set")
    assert {name for name in chosen.columns if name not in source.columns} == {
        "row",
        "log_ratio/resampled",
        "uncalibrated/resampled",
    }
    own = {
        str(path.relative_to(here / "set" / "columns").parent) for path in (here / "set").rglob("columns/*/*/*.json")
    }
    assert own == {"log_ratio/resampled", "uncalibrated/resampled"}
    assert set(features) <= set(chosen.columns)
    code, out, err = launch("evaluate.py", "run=runs/resampled", cwd=here)
    assert code == 0, out + err
    assert json.loads((here / "runs/resampled/evaluation.json").read_text())["weightings"][0]["name"] == "uniform"


@pytest.mark.parametrize("method", ["systematic", "residual", "without-replacement", "rejection", "mh"])
def test_every_method(here, digits, generated, column, capfd, method):
    more = ["--real", digits.cwd / "cache" / "digits-real", "--burn-in", 50] if method == "mh" else []
    arguments = ["--cache", generated, "--log-ratio", column, "--method", method, "--num", 50, "--out", "set", *more]
    told = ended_well(capfd, "tools/resample.py", *arguments)
    assert ("accepted" in told) == (method in ("rejection", "mh"))
    rows = SampleCache("set")["row"]
    assert len(rows) == 50
    ended_well(capfd, "tools/resample.py", *arguments, "--overwrite")
    assert torch.equal(SampleCache("set")["row"], rows)  # the same seed


def test_the_weights_of_a_run(here, digits, generated, capfd, monkeypatch):
    """Its scored samples, by the gate's weights: the classes have the shares of the weighted table."""
    monkeypatch.chdir(digits.cwd)
    run = ["--weights", digits.folder, "--method", "systematic", "--num", 3000, "--out", here / "set"]
    told = ended_well(capfd, "tools/resample.py", *run)
    chosen = next(w for w in digits.record["weightings"] if w["name"] == digits.record["recommended"])
    assert f"of {digits.record['num_generated']:,} samples were chosen" in told
    assert f"ESS of the weights {chosen['ess']:,.1f}" in told
    logits = next(name for name in SampleCache(generated).columns if name.startswith("logits/"))
    shares = torch.bincount(SampleCache(here / "set")[logits].argmax(1), minlength=10) / 3000
    np.testing.assert_allclose(shares, chosen["class_proportions"], atol=0.01)
    ended_well(capfd, "tools/resample.py", *run[:-1], here / "other", "--weighting", "uniform")
    rows = SampleCache(here / "other")["row"]
    assert len(rows.unique()) == min(3000, digits.record["num_generated"])


def test_images_and_copies(here, generated, column, capfd):
    arguments = ["--cache", generated, "--log-ratio", column, "--num", 30]
    ended_well(capfd, "tools/resample.py", *arguments, "--images", "set.npz", "--out", "copy", "--copy")
    ended_well(capfd, "tools/resample.py", *arguments, "--images", "folder")
    copy = SampleCache("copy")
    assert "row" not in copy.columns
    assert copy.columns == SampleCache(generated).columns
    assert copy.column(column).stamp == SampleCache(generated).column(column).stamp
    with np.load("set.npz") as file:
        np.testing.assert_array_equal(file["arr_0"], copy["image"].permute(0, 2, 3, 1).numpy())
    assert len(list((here / "folder").glob("*.png"))) == 30


def test_log_ratios_in_a_file(here, generated, column, capfd):
    values = SampleCache(generated)[column]
    np.savez("weights.npz", log_ratio=values.numpy())
    np.savez("wide.npz", log_ratio=values.numpy().astype(">f8"))
    for name in ("weights.npz", "wide.npz", column):
        ended_well(capfd, "tools/resample.py", "--cache", generated, "--log-ratio", name, "--num", 9, "--out", name[:4])
    assert torch.equal(SampleCache("weig")["row"], SampleCache("log_")["row"])
    assert torch.equal(SampleCache("wide")["row"], SampleCache("log_")["row"])


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--log-ratio", "log_ratio/none"], ["no column 'log_ratio/none'", "image"]),
        (["--log-ratio", "image"], ["--log-ratio image", "one number per row"]),
        (["--log-ratio", "short.npz"], ["--log-ratio short.npz", "(3,)", "10,000 rows"]),
        (["--log-ratio", "zero.npz"], ["all weights are zero"]),
        (["--log-ratio", "nothing.npz"], ["--log-ratio nothing.npz", "log_ratio"]),
        (["--method", "without-replacement", "--num", 10_001], ["10,001 without replacement from 10,000 candidates"]),
        (["--method", "rejection", "--num", 10_000], ["rejection accepted", "10,000 were requested"]),
        (["--method", "best"], ["'best'", "sir, systematic"]),
        (["--method", "systematic", "--pool", 3], ["pool goes with method sir or mh"]),
        (["--method", "mh"], ["--real"]),
        (["--real", "nowhere"], ["--real"]),
        (["--num", 0], ["num=0"]),
        (["--pool", 0], ["pool_size=0"]),
        (["--run", "runs/a"], ["--run goes with --generator"]),
        (["--weights", "runs/a"], ["--cache goes without --weights"]),
        (["--weighting", "auto"], ["--weighting goes with --weights"]),
        (["--flatten", "-1"], ["flatten=-1"]),
        (["--cache", "nowhere"], ["nowhere", "no cache there"]),
        (["--out", "taken"], ["taken: exists already"]),
        (["--images", "taken"], ["taken: exists already"]),
        (["--images", "short.npz"], ["short.npz: exists already"]),
    ],
)
def test_bad_input_of_resample_leaves_nothing(here, generated, column, capfd, arguments, names):
    np.savez("short.npz", log_ratio=np.zeros(3))
    np.savez("zero.npz", log_ratio=np.full(10_000, -np.inf))
    np.savez("nothing.npz", other=np.zeros(3))
    (here / "taken").mkdir()
    (here / "taken" / "mine").write_text("")
    before = sorted(os.walk(here))
    options = {"--cache": generated, "--log-ratio": column, "--num": 20, "--out": "set"}
    options |= dict(zip(arguments[::2], arguments[1::2], strict=True))
    told = refused(capfd, "tools/resample.py", *[word for pair in options.items() for word in pair])
    for name in names:
        assert name in told
    assert sorted(os.walk(here)) == before


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--weights", "nowhere"], ["nowhere is not a run folder"]),
        (["--weighting", "best"], ["--weighting best: no such weighting", "auto"]),
        (["--method", "mh"], ["by any method but mh"]),
        (["--flatten", "0.5"], ["--weights are taken as they are"]),
        (["--smooth", None], ["--smooth goes without --weights"]),
    ],
)
def test_weights_of_no_run(here, digits, capfd, monkeypatch, arguments, names):
    monkeypatch.chdir(digits.cwd)
    options = {"--weights": digits.folder, "--num": 20, "--out": here / "set"}
    options |= dict(zip(arguments[::2], arguments[1::2], strict=True))
    words = [word for pair in options.items() for word in pair if word is not None]
    told = refused(capfd, "tools/resample.py", *words)
    for name in names:
        assert name in told
    assert not list(here.iterdir())


def test_nothing_to_write_and_no_images(here, generated, column, capfd):
    with CacheWriter("vectors") as writer:
        writer.write({"vector": torch.zeros(5, 2)})
    SampleCache("vectors").add_column("log_ratio/a", torch.zeros(5), stamp={})
    arguments = ["--log-ratio", "log_ratio/a", "--num", 2]
    assert "no column 'image'" in refused(
        capfd, "tools/resample.py", "--cache", "vectors", *arguments, "--out", "set", "--images", "a.npz"
    )
    assert "give --out, --images or both" in refused(capfd, "tools/resample.py", "--cache", "vectors", *arguments)
    assert not (here / "set").exists()
    ended_well(capfd, "tools/resample.py", "--cache", "vectors", *arguments, "--out", "set")
    assert SampleCache("set")["vector"].shape == (2, 2)


def test_live_samples(digits, capfd, tmp_path):
    """Fresh digits, nearer to the data than those of the generator."""
    for method, more in (("sir", ["pool=8"]), ("rejection", ["burn_in=200"]), ("mh", ["pool=8", "burn_in=100"])):
        out = tmp_path / method
        given = ["generator=digits", f"method={method}", "num=300", f"out={out}", f"images={out}.npz"]
        code, told, err = launch("tools/sample.py", *given, f"run={digits.folder}", *more, cwd=digits.cwd)
        assert code == 0, told + err
        assert f"300 samples by {method}" in told
        assert "accepted" in told
        assert "candidates and" in told
        cache = SampleCache(out)
        assert len(cache) == 300
        assert cache.source["resampling"]["method"] == method
        with np.load(f"{out}.npz") as file:
            assert file["arr_0"].shape == (300, 8, 8, 1)


def test_a_cache_in_order(here, digits, generated, column, capfd, monkeypatch):
    monkeypatch.chdir(digits.cwd)
    arguments = ["--generator", "cache", "--cache", generated, "--run", digits.folder, "--pool", 4, "--batch", 999]
    ended_well(capfd, "tools/resample.py", *arguments, "--num", 2500, "--out", here / "set")
    source, found = SampleCache(generated), SampleCache(here / "set")
    known = {bytes(image.numpy().tobytes()) for image in source["image"]}
    assert all(bytes(image.numpy().tobytes()) in known for image in found["image"])
    told = refused(capfd, "tools/resample.py", *arguments, "--num", 2501, "--out", here / "more")
    assert "the candidates ended after 10,000: 2,500 samples were kept, 2,501 were requested" in told
    assert [path.name for path in here.iterdir()] == ["set"]


def test_chains_in_the_latent_space_of_a_trained_generator(here, digits, capfd, monkeypatch):
    """By the ratio of a run of digits their images come nearer to digits; all of them are new."""
    monkeypatch.chdir(digits.cwd)
    module_of("vae").save(here / "generator.safetensors")
    arguments = ["--generator", "trained", "--checkpoint", here / "generator.safetensors", "--run", digits.folder]
    # an untrained network's images hardly differ, so that their ratios have to count more
    arguments += ["--method", "pcn", "--num", 60, "--batch", 40, "--flatten", 30]
    told = {}
    for pool in (1, 8):
        told[pool] = ended_well(capfd, "tools/resample.py", *arguments, "--pool", pool, "--out", here / f"pool{pool}")
    assert "60 samples by pcn, scored by" in told[8]
    assert f"{60 * 8} candidates" in told[8]
    scorer = Scorer(digits.folder)
    plain, chained = (scorer({"image": SampleCache(here / f"pool{pool}")["image"]}) for pool in (1, 8))
    assert chained.mean() > plain.mean() + plain.std() / 2
    made = SampleCache(here / "pool8").source["resampling"]
    assert (made["method"], made["pool"], made["generator"]) == ("pcn", 8, "trained")
    refusals = {
        ("--step", 0): "step=0: expected above 0 and at most 1",
        ("--step", 1.5): "step=1.5",
        ("--pool", 0): "pool=0 must be at least 1",
        ("--burn-in", 5): "burn-in goes with method rejection or mh, not pcn",
    }
    for given, message in refusals.items():
        assert message in refused(capfd, "tools/resample.py", *arguments, *given, "--out", here / "none")
    assert not (here / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["generator=gan"], ["generator=gan", "cache, digits"]),
        (["method=pcn"], ["method pcn moves in a generator's latent space: it goes with --generator trained"]),
        (["step=0.5"], ["step goes with method pcn, not sir"]),
        (["method=systematic"], ["'systematic'", "sir, rejection, mh"]),
        (["num=0"], ["num=0"]),
        (["num=many"], ["--num", "'many'"]),
        (["numm=3"], ["--numm=3"]),
        (["method=rejection", "pool=4"], ["pool goes with method sir or mh or pcn, not rejection"]),
        (["run=nowhere"], ["nowhere"]),
        (["generator=cache"], ["--generator cache: give --cache"]),
        (["out=taken"], ["taken: exists already"]),
        (["log_ratio=a"], ["--log-ratio goes without --generator"]),
    ],
)
def test_bad_input_of_sample_leaves_nothing(here, digits, capfd, monkeypatch, arguments, names):
    (here / "taken").mkdir()
    (here / "taken" / "mine").write_text("")
    base = {"generator": "digits", "num": "5", "out": "set", "run": str(digits.folder)}
    base |= dict(argument.split("=", 1) for argument in arguments)
    monkeypatch.setattr("lfiw.ratio.digits.DigitsDataModule.prepare_data", lambda self: None)
    told = refused(capfd, "tools/sample.py", *[f"{key}={value}" for key, value in base.items()])
    for name in names:
        assert name in told
    assert [path.name for path in here.iterdir()] == ["taken"]
