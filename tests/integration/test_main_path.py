"""Train, evaluate, score: what a user gets on disk, and whether the numbers are those of the files."""

import contextlib
import itertools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from integration.launch import QUICK, launch, module, refused
from pages import Page, check_numbers

from lfiw import RatioClassifier, Weighting
from lfiw.cli import run_script
from lfiw.config import load
from lfiw.data import SampleCache
from lfiw.errors import InputError
from lfiw.tasks.run_weights import NewWeights, weights_of_run

WEIGHTING_KEYS = {"name", "flatten", "clip", "smooth", "ess", "pareto_k", "max_weight", "metrics"}


def train(*overrides):
    return module("train.py").train([*map(str, overrides)])


def evaluate(*overrides):
    return module("evaluate.py").evaluate([*map(str, overrides)])


def numbers(record):
    """An evaluation without the run's name, as text: equal text is equal numbers, bit by bit."""
    return json.dumps({name: value for name, value in record.items() if name != "run"})


def frechet(real, generated, weights):
    """The distance by numpy."""
    mean = np.average(generated, axis=0, weights=weights) - real.mean(0)
    a, b = np.cov(real.T), np.cov(generated.T, aweights=weights)
    # trace of the root of ab: the sum of the roots of its eigenvalues
    return mean @ mean + np.trace(a + b) - 2 * np.sqrt(np.linalg.eigvals(a @ b).real.clip(0)).sum()


@pytest.fixture(scope="module")
def again(digits):
    """The same run once more, in this process, with the caches that are there."""
    with contextlib.chdir(digits.cwd):
        return train("trainer.max_epochs=3", "trainer.progress=false", "logger=none", "run_dir=runs/digits/again")


def test_the_run_folder(digits):
    expected = ["config.yaml", "metrics.jsonl", "evaluation.json", "report.html", "seconds.json"]
    expected += ["checkpoints/best.ckpt", "checkpoints/last.ckpt"]
    figures = ("weights", "lorenz", "samples", "calibration", "training", "flattening_fid", "class_proportions")
    expected += [f"{name}.png" for name in figures]
    assert set(expected) <= digits.files
    assert not [name for name in digits.files if Path(name).name.startswith(".") or "~" in name]
    for name in expected:
        assert (digits.folder / name).stat().st_size > 0
        if name.endswith(".png"):
            assert (digits.folder / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    folder = digits.folder.relative_to(digits.cwd)
    assert digits.stdout.startswith(f"run folder: {folder}\n")
    assert digits.stdout.endswith(f"report: {folder}/report.html\n")
    assert digits.stderr == ""
    lines = [json.loads(line) for line in (digits.folder / "metrics.jsonl").read_text().splitlines()]
    logged = [line for line in lines if "val/log_loss" in line]
    assert len(logged) == 3
    assert all(np.isfinite(line["val/log_loss"]) for line in logged)
    assert any("test/uniform/fid" in line for line in lines)


def test_the_report_needs_no_other_file(digits):
    html = (digits.folder / "report.html").read_text()
    # a figure each (the sheet of all samples is not on the page), and six grids
    pngs = [name for name in digits.files if "/" not in name and name.endswith(".png")]
    assert html.count("data:image/svg+xml;base64,") == len(pngs) - 1
    assert html.count("data:image/png;base64,") == 6
    for link in re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"'\s>)]+)""", html):
        assert link.startswith(("data:", "#")), link
    assert "<script" not in html
    assert len(html) < 3_000_000


def test_the_numbers_of_the_report(digits):
    check_numbers(Page(digits.folder / "report.html"), digits.record)


def test_scores_against_the_exponent(digits, again):
    """By numpy, where the evaluation has no such weighting; the same number where it has."""
    record, datamodule = digits.record, again[1]["datamodule"]
    curves = record["flattening"]
    assert curves["exponents"] == [i / 8 for i in range(9)]
    by_name = {w["name"]: w for w in record["weightings"]}
    for alpha, name in ((0, "uniform"), (0.25, "flatten 0.25"), (0.5, "flatten 0.5"), (1, "self-normalised")):
        i = curves["exponents"].index(alpha)
        assert curves["ess"][i] == pytest.approx(by_name[name]["ess"], rel=1e-12)
        assert {m: scores[i] for m, scores in curves["scores"].items()} == {
            m: score["value"] for m, score in by_name[name]["metrics"].items()
        }
    real, generated = (subset.column("image").flatten(1).numpy() / 255 for subset in datamodule.splits["evaluation"])
    log_ratio = datamodule.splits["evaluation"][1].column("log_ratio/again").numpy()
    for alpha in (0.125, 0.875):
        weights = np.exp(alpha * log_ratio)
        i = curves["exponents"].index(alpha)
        assert curves["scores"]["fid"][i] == pytest.approx(frechet(real, generated, weights), rel=1e-5)
        assert curves["ess"][i] == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), rel=1e-9)


def test_where_the_numbers_come_from(digits):
    tables = {table["name"]: table for table in digits.record["tables"]}
    real = SampleCache(digits.cwd / "cache/digits-real")
    assert tables["real"] == {"name": "real", "rows": 1797, "sha256": real.identity}
    assert tables["generated"]["rows"] == 10_000
    seconds = json.loads((digits.folder / "seconds.json").read_text())
    assert set(seconds) == {"data and input", "training", "log-ratios", "features and scores"}
    assert all(value > 0 for value in seconds.values())


def test_evaluation_json_obeys_the_contract(digits):
    record = digits.record
    assert {"experiment", "num_real", "num_generated", "extractors", "reference", "weightings"} <= set(record)
    assert record["experiment"] == "digits"
    assert (record["num_real"], record["num_generated"]) == (719, 4000)
    assert [e["name"] for e in record["extractors"]] == ["pixels", "classifier"]
    assert re.fullmatch("[0-9a-f]{64}", record["extractors"][1]["sha256"])
    names = [w["name"] for w in record["weightings"]]
    assert names[0] == "uniform"
    assert {"self-normalised", "flatten 0.5", "clip 0.1", "smoothed"} <= set(names)
    assert record["recommended"] in names
    for w in record["weightings"]:
        assert set(w) >= WEIGHTING_KEYS
        assert {"fid", "kid", "fid@classifier", "kid@classifier"} <= set(w["metrics"])
        assert [name for name in w["metrics"] if name.startswith("is")]
        assert 1 <= w["ess"] <= 4000 + 1e-6
        for name, metric in w["metrics"].items():
            assert set(metric) >= {"value", "se", "difference"}
            uniform = record["weightings"][0]["metrics"][name]["value"]
            assert metric["difference"]["value"] == metric["value"] - uniform
    uniform = record["weightings"][0]
    assert uniform["ess"] == pytest.approx(4000, rel=1e-12)
    assert uniform["max_weight"] == pytest.approx(1 / 4000, rel=1e-12)
    assert uniform["pareto_k"] is None
    assert {m["difference"]["value"] for m in uniform["metrics"].values()} == {0.0}
    assert record["reference"]["fid"]["value"] < uniform["metrics"]["fid"]["value"]


def test_scores_are_of_rows_that_nothing_else_has_seen(digits, again):
    datamodule = again[1]["datamodule"]
    for side, total in enumerate((1797, 10_000)):
        rows = {name: set(pair[side].rows.tolist()) for name, pair in datamodule.splits.items()}
        assert set(rows) == {"train", "validation", "evaluation"}
        for a, b in itertools.combinations(rows.values(), 2):
            assert not a & b
        assert len(set.union(*rows.values())) == total
    real, generated = (subset.column("image").flatten(1).numpy() / 255 for subset in datamodule.splits["evaluation"])
    log_ratio = datamodule.splits["evaluation"][1].column("log_ratio/again")
    for name, weighting in (("uniform", Weighting(flatten=0.0)), ("flatten 0.5", Weighting(flatten=0.5))):
        (w,) = (w for w in digits.record["weightings"] if w["name"] == name)
        # float32 features enter: 1e-5 of the value
        expected = frechet(real, generated, weighting(log_ratio).numpy())
        assert w["metrics"]["fid"]["value"] == pytest.approx(expected, rel=1e-5)


def test_the_same_seed_gives_the_same_numbers(digits, again):
    assert numbers(again[1]["record"]) == numbers(json.loads(json.dumps(again[1]["record"])))
    kept = json.loads((digits.cwd / "runs/digits/again/evaluation.json").read_text())
    assert numbers(kept) == numbers(digits.record)


def test_what_train_returns(again):
    metrics, objects = again
    assert {"trainer", "classifier", "datamodule", "record"} <= set(objects)
    assert metrics["test/uniform/fid"] == pytest.approx(objects["record"]["weightings"][0]["metrics"]["fid"]["value"])
    assert 0 < metrics["val/log_loss"] < 1
    assert all(isinstance(value, float) for value in metrics.values())


def test_the_configuration_goes_round(digits):
    text = (digits.folder / "config.yaml").read_text()
    loaded = load(digits.folder)
    assert loaded.text == text
    assert yaml.safe_load(text)["trainer"]["max_epochs"] == 3
    assert loaded.config.data.name == "digits"


def test_a_second_run_in_one_process_is_another_run(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["trainer.max_epochs=1", f"data.folder={digits.cwd / 'cache'}", *QUICK]
    first, second = (train(*options, f"seed={seed}")[1]["record"] for seed in (1, 2))
    assert first["run"] != second["run"]
    assert len(list((tmp_path / "runs/digits").glob("*/evaluation.json"))) == 2
    assert first["weightings"][0]["metrics"] == second["weightings"][0]["metrics"]


def test_evaluate_again_with_other_weightings(digits, again, monkeypatch):
    monkeypatch.chdir(digits.cwd)
    weightings = "evaluation.weightings=[{name: self-normalised}, {name: half, flatten: 0.5}, {name: c, clip: 0.2}]"
    run = digits.cwd / "runs/digits/again"
    metrics, objects = evaluate(f"run={run}", weightings, "evaluation.paper=true")
    record = json.loads((run / "evaluation.json").read_text())
    assert [w["name"] for w in record["weightings"]] == ["uniform", "self-normalised", "half", "c", "auto"]
    kept = {w["name"]: w for w in digits.record["weightings"]}
    by_name = {w["name"]: w for w in record["weightings"]}
    # the second time is read from the cached columns: nothing is computed anew
    for name, was in (("uniform", "uniform"), ("self-normalised", "self-normalised"), ("half", "flatten 0.5")):
        for metric, value in kept[was]["metrics"].items():
            found = by_name[name]["metrics"][metric]
            assert (found["value"], found["se"], found["difference"]) == (
                value["value"], value["se"], value["difference"],
            )  # fmt: skip
            # permuted weights of other weightings stand beside these in one product: other rounding
            if value["control"]["value"] is not None:
                assert found["control"] == pytest.approx(value["control"], rel=1e-9)
    assert "fid_paper" in by_name["half"]["metrics"]
    # the official code's covariance divides by one less than the count, as ours does under uniform weights
    assert by_name["uniform"]["metrics"]["fid_paper"]["value"] == pytest.approx(
        by_name["uniform"]["metrics"]["fid"]["value"], rel=1e-2
    )
    assert metrics["test/half/fid"] == pytest.approx(by_name["half"]["metrics"]["fid"]["value"])
    assert set(objects) >= {"trainer", "classifier", "datamodule", "record"}


def test_a_lost_log_ratio_column_is_computed_again(digits, again, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(digits.cwd / "cache", tmp_path / "cache")
    shutil.copytree(digits.folder, tmp_path / "runs/digits/moved")
    _, objects = evaluate("logger.name=none", "evaluation.figures=false")
    moved, kept = objects["record"], digits.record
    assert moved["run"] == "moved"
    assert numbers(json.loads((tmp_path / "runs/digits/moved/evaluation.json").read_text())) == numbers(kept)


def test_scores_of_new_samples(digits, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "new.npz", images=images)
    arguments = [f"run={digits.folder}", tmp_path / "new.npz", "--out", tmp_path / "deep/w.npz", "--flatten", "0.5"]
    module("tools/score.py").main([str(a) for a in arguments])
    with np.load(tmp_path / "deep/w.npz") as kept:
        log_ratio, weights = torch.from_numpy(kept["log_ratio"]), torch.from_numpy(kept["weights"])
    assert log_ratio.dtype == weights.dtype == torch.float64
    assert log_ratio.equal(RatioClassifier.load(digits.folder).log_ratio(torch.from_numpy(images)))
    assert weights.sum().item() == pytest.approx(1, abs=1e-12)
    expected = torch.softmax(0.5 * log_ratio, 0)
    torch.testing.assert_close(weights, expected, rtol=1e-12, atol=0)


def write(folder, images):
    np.savez(f"{folder}.npz", images=images)
    module("tools/cache_samples.py").main(["npz", f"{folder}.npz", "--out", str(folder)])


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Images of one's own in caches: noise against darker noise, and more of both for the scores."""
    folder = tmp_path_factory.mktemp("own")
    draw = np.random.default_rng(0)
    for name, rows, top in (("r", 300, 256), ("g", 200, 200), ("re", 90, 256), ("ge", 110, 200)):
        write(folder / name, draw.integers(0, top, (rows, 3, 16, 16)).astype(np.uint8))
    return folder


def caches(own):
    sides = {"real": "r", "generated": "g", "real_evaluation": "re", "generated_evaluation": "ge"}
    return [f"data.{side}={own / name}" for side, name in sides.items()]


def test_images_of_ones_own(own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, objects = train(
        "experiment=images",
        *caches(own),
        "folds=1",
        "calibration=none",
        "model=resnet",
        "model.width=8",
        "model.stages=2",
        "data.mixing=natural",
        "data.augment=crop_flip",
        "data.batch_size=64",
        "metrics.inception_score.classifier=null",
        "trainer.max_epochs=4",
        "trainer.accelerator=cpu",
        "optimizer.ema_decay=0.5",
        "logger=csv",
        "trainer.progress=false",
    )
    record, datamodule = objects["record"], objects["datamodule"]
    assert (record["num_real"], record["num_generated"]) == (90, 110)
    assert len(record["weightings"]) == 11
    assert not [name for w in record["weightings"] for name in w["metrics"] if name.startswith("is")]
    real, generated = datamodule.splits["train"]
    assert objects["classifier"].counts == (len(real), len(generated)) == (200, 133)
    # without evaluation rows of their own, train and validation share the tables 2 : 1
    assert [len(subset) for subset in datamodule.splits["validation"]] == [100, 67]
    (folder,) = (tmp_path / "runs/images").iterdir()
    assert (folder / "csv/metrics.csv").is_file()
    assert (folder / "report.html").is_file()
    log_ratio = SampleCache(own / "g")[f"log_ratio/{folder.name}"]
    assert log_ratio.dtype == torch.float64
    assert log_ratio.equal(RatioClassifier.load(folder).log_ratio(SampleCache(own / "g")["image"]))
    real_ratio = SampleCache(own / "re")[f"log_ratio/{folder.name}"]
    assert real_ratio.mean() > SampleCache(own / "ge")[f"log_ratio/{folder.name}"].mean()


def test_vectors_of_known_densities(tmp_path, monkeypatch):
    """p = N(0.5, 1), q = N(0, 1) in each of two dimensions: log p/q = 0.5·Σx − 0.25."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, shift in (("real", 0.5), ("generated", 0.0)):
        np.save(f"{name}.npy", rng.normal(shift, 1, (4000, 2)).astype(np.float32))
        module("tools/cache_samples.py").main(["npz", f"{name}.npy", "--out", name])
    pair = ("data.real=real", "data.generated=generated")
    _, objects = train("experiment=vectors", *pair, "trainer.max_epochs=5", "trainer.progress=false", "logger=none")
    x = torch.from_numpy(rng.normal(0, 1, (2000, 2)).astype(np.float32))
    error = objects["classifier"].log_ratio(x) - (0.5 * x.sum(1) - 0.25)
    assert error.square().mean().sqrt() < 0.2  # the exact log-ratio spreads by 0.71; 1,600 rows a side leave about 0.1
    uniform, weighted = (w["metrics"]["fid"]["value"] for w in objects["record"]["weightings"][:2])
    assert weighted < uniform / 3  # uniform: |μ_p − μ_q|² = 0.5
    module("tools/score.py").main([f"run={objects['trainer'].default_root_dir}", "generated.npy", "--out", "w.npz"])
    assert np.load("w.npz")["weights"].shape == (4000,)


def test_columns_of_other_units_do_not_outshout_one_another(tmp_path, monkeypatch):
    """Incomes are right and ages are six years off: in euros squared nobody sees it, and the gate must."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, age in (("real", 40), ("generated", 46)):
        rows = np.column_stack([rng.lognormal(10, 0.5, 3000), rng.normal(age, 10, 3000)])
        np.save(f"{name}.npy", rows)
        module("tools/cache_samples.py").main(["npz", f"{name}.npy", "--out", name])
    options = ["experiment=vectors", "data.real=real", "data.generated=generated", "trainer.max_epochs=3", *QUICK]
    _, objects = train(*options)
    record = objects["record"]
    assert record["verdict"] == "corrects"
    assert "KID (standardised)" in record["reason"]
    uniform, auto = (next(w for w in record["weightings"] if w["name"] == name) for name in ("uniform", "auto"))
    # a difference of 0.6 standard deviations in one column
    assert uniform["metrics"]["fid@standardised"]["value"] == pytest.approx(0.36, abs=0.15)
    assert auto["metrics"]["fid@standardised"]["value"] < uniform["metrics"]["fid@standardised"]["value"] / 2
    assert uniform["metrics"]["fid"]["se"] > 10 * 0.36  # in euros squared
    # units come from rows that are not scored
    datamodule = objects["datamodule"]
    fitted, scored = datamodule.fitted_rows(0).rows, datamodule.splits["evaluation"][0].rows
    assert not set(fitted.tolist()) & set(scored.tolist())
    assert len(fitted) + len(scored) == 3000


def test_a_column_of_features_as_input(own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = [
        "trainer.max_epochs=2",
        "evaluation.extractors=[pixels]",
        "metrics.inception_score.classifier=null",
        *QUICK,
    ]
    for name in ("r", "g", "re", "ge"):
        cache = SampleCache(own / name)
        cache.add_column("features/means", cache["image"].float().mean((2, 3)), stamp={"name": "means"})
    _, objects = train("data=cached", *caches(own), "data.input=features/means", *options)
    assert objects["classifier"].spec["column"] == "features/means"
    assert objects["classifier"].spec["shape"] == (3,)
    assert objects["record"]["weightings"][0]["metrics"]["fid"]["value"] > 0
    cache = SampleCache(own / "g")
    cache.add_column("features/means", torch.full((200, 3), float("nan")), stamp={"name": "broken"})
    with pytest.raises(ValueError, match="NaN"):
        train("data=cached", *caches(own), "data.input=features/means", *options)


def test_known_densities(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metrics, objects = train(
        "experiment=toy",
        "task.num_samples=[60]",
        "task.seeds=2",
        "trainer.max_epochs=2",
        "data.num_evaluation=200",
        "logger=none",
    )
    assert {row["name"].split()[0] for row in objects["rows"]} == {"1d", "2d"}
    assert all(np.isfinite(value) for value in metrics.values())
    (folder,) = (tmp_path / "runs/toy").iterdir()
    assert json.loads((folder / "toy.json").read_text())["study"] == "toy"
    assert (folder / "toy.png").is_file()
    shown, _ = evaluate(folder)
    assert shown == evaluate(f"run={folder}")[0] == metrics


@pytest.mark.slow
def test_scripts_by_themselves(digits, tmp_path):
    """evaluate.py and score.py with the latest run, as processes."""
    np.save(tmp_path / "new.npy", np.zeros((30, 8, 8), np.uint8))
    code, out, err = launch("train.py", "trainer.max_epochs=1", *QUICK, cwd=tmp_path)
    assert code == 0, out + err
    code, out, err = launch("evaluate.py", cwd=tmp_path)
    assert (code, err) == (0, "")
    code, out, err = launch("tools/score.py", "new.npy", "--out", "w.npz", cwd=tmp_path)
    assert (code, err) == (0, "")
    assert "30 weights" in out


def test_isotonic_calibration_corrects_though_its_weights_are_tied(tmp_path):
    """Its plateaus leave no tail to fit: k̂ is not a number, and the ESS of rows of both sides decides."""
    options = ["seed=1", "data.split_seed=1", "trainer.progress=false", "logger=none", "evaluation.figures=false",
               "evaluation.permutations=0", "evaluation.exponents=[]", "evaluation.balance=false"]  # fmt: skip
    with contextlib.chdir(tmp_path):
        _, objects = train("calibration=isotonic", "run_dir=runs/isotonic", *options)
    uniform, *_, auto = objects["record"]["weightings"]
    assert objects["record"]["verdict"] == "corrects"
    assert "largest weights tied" in objects["record"]["reason"]
    assert auto["metrics"]["fid"]["value"] < 0.6 * uniform["metrics"]["fid"]["value"]


def test_classes_get_the_shares_of_real_rows(digits, capfd, monkeypatch, tmp_path):
    """By the extractor's classes, in the scores, the table and an export; a plain evaluation then undoes it."""
    monkeypatch.chdir(digits.cwd)
    folder = tmp_path / "again"
    shutil.copytree(digits.folder, folder)
    options = [f"run={folder}", "trainer.progress=false", "evaluation.figures=false"]
    matched = "evaluation.weightings=[{name: matched, flatten: 0.5, stratify: true}]"
    evaluate(*options, "evaluation.strata=classifier", matched)
    record = json.loads((folder / "evaluation.json").read_text())
    counts, chosen = record["strata"]["counts"], record["weightings"][-1]
    assert (record["recommended"], chosen["stratify"]) == ("auto", True)
    shares = [(count + 0.5) / (sum(counts) + 5) for count in counts]
    assert chosen["class_proportions"] == pytest.approx(shares, rel=1e-9)
    assert "classifier" in record["seen"]  # the shares are its own, so it is no independent judge
    plain = next(w for w in digits.record["weightings"] if w["name"] == "auto")
    distance = [w["metrics"]["class_distance@classifier"]["value"] for w in (chosen, plain)]
    assert distance[0] < 0.5 * distance[1]
    assert run_script(module("tools/export.py").main, [str(folder), "--out", str(tmp_path / "out.npz")]) == 0
    with np.load(tmp_path / "out.npz") as file:
        exported, images = file["weight"], file["image"]
    assert 1 / np.square(exported).sum() == pytest.approx(chosen["ess"])
    # the same images as new samples: their classes are found again
    np.savez(tmp_path / "new.npz", images=images)
    arguments = [f"run={folder}", str(tmp_path / "new.npz"), "--out", str(tmp_path / "w.npz")]
    module("tools/score.py").main([*arguments, "--weighting", "auto"])
    np.testing.assert_allclose(np.load(tmp_path / "w.npz")["weights"], exported, rtol=1e-4)
    # one by one they have the same weights, but for a constant
    scored = weights_of_run(folder, "matched")
    found = NewWeights(folder, "matched")({"image": scored.table.read(scored.rows, ["image"])["image"]})
    assert (found - scored.weights.log()).std() < 1e-4
    given = ["--generator", "digits", "--run", str(folder), "--num", "300", "--weighting", "matched"]
    assert run_script(module("tools/resample.py").main, [*given, "--out", str(tmp_path / "drawn")]) == 0
    assert SampleCache(tmp_path / "drawn").source["resampling"]["weighting"] == "matched"
    for more, message in (("--method=mh", "and method mh"), ("--flatten=0.5", "leave out --flatten")):
        told = refused(capfd, "tools/resample.py", *given, more, "--out", tmp_path / "none")
        assert message in told
    told = refused(capfd, "tools/score.py", *arguments, "--weighting", "autp")
    assert "--weighting autp: no such weighting, did you mean auto?" in told
    told = refused(capfd, "tools/score.py", *arguments, "--weighting", "auto", "--flatten", "0.5")
    assert "leave out --flatten, --clip and --smooth" in told
    evaluate(*options)
    assert "strata" not in json.loads((folder / "evaluation.json").read_text())


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["evaluation.strata=label"], "data.generated has no column 'label'"),
        (["evaluation.strata=pixels"], "expected one of none, label, classifier"),
        (["evaluation.weightings=[{name: x, stratify: true}]"], "name the classes by evaluation.strata"),
    ],
)
def test_classes_that_are_not_there(digits, monkeypatch, overrides, words):
    monkeypatch.chdir(digits.cwd)
    with pytest.raises(InputError, match=re.escape(words)):
        evaluate(f"run={digits.folder}", *overrides)
