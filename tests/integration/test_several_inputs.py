"""A ratio of several inputs: against runs on each input alone, and on samples that come later."""

from pathlib import Path

import numpy as np
import pytest
import torch
from integration.launch import QUICK, module, refused

from lfiw import InputError, RatioClassifier
from lfiw.config import compose
from lfiw.data import CacheWriter, SampleCache
from lfiw.ratio.cross_fitting import train_members, write_log_ratios
from lfiw.tasks.inputs import Scorer, build_datamodule, prepare_inputs
from lfiw.training.trainer import build_trainer
from lfiw.weighting.calibration import Validation

ROWS = 120
OPTIONS = [
    *("data=cached", "data.real=real", "data.generated=generated", "model.width=8", "trainer.max_epochs=1"),
    *("trainer.accelerator=cpu", "data.batch_size=64", "calibration=temperature", *QUICK),
    *("evaluation.extractors=[pixels]", "metrics.inception_score.classifier=null", "evaluation.balance=false"),
]


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for side, name in enumerate(("real", "generated")):
        images = torch.from_numpy(rng.integers(0, 200 + 56 * side, (ROWS, 1, 5, 5), dtype=np.uint8))
        with CacheWriter(tmp_path / name, source={}) as writer:
            writer.write({"image": images})
        for features in "ab":
            values = torch.from_numpy(rng.normal(0.5 * side, 1, (ROWS, 3)).astype(np.float32))
            SampleCache(name).add_column(f"features/{features}", values, stamp={"name": features})


def log_ratios(name: str, *overrides: str) -> tuple[np.ndarray, Validation]:
    """Trains, and returns the generated rows' final log-ratios and what judges."""
    config = compose([*OPTIONS, *overrides]).config
    datamodule = build_datamodule(config.data, config.seed, config.folds)
    trainer = build_trainer(config.trainer, Path(name), [])
    prepare_inputs(trainer, datamodule, config.features, config.join)
    datamodule.setup()
    train_members(config, Path(name), [], datamodule)
    _, validation = write_log_ratios(config, Path(name), trainer, datamodule)
    return SampleCache("generated")[f"log_ratio/{name}"].numpy(), validation


def test_the_mean_of_two_inputs_is_that_of_two_runs() -> None:
    cross_fitted = ["folds=2"]
    a, of_a = log_ratios("run-a", "data.input=features/a", *cross_fitted)
    b, of_b = log_ratios("run-b", "data.input=[features/b]", *cross_fitted)
    both, of_both = log_ratios("both", "data.input=[features/a, features/b]", *cross_fitted)
    np.testing.assert_allclose(both, (a + b) / 2, rtol=1e-12)
    assert np.abs(a - b).max() > 0.001
    for side in (0, 1):
        for kind in ("raw", "calibrated"):
            expected = (getattr(of_a, kind)[side] + getattr(of_b, kind)[side]) / 2
            np.testing.assert_allclose(getattr(of_both, kind)[side], expected, rtol=1e-12)
    members = [f"fold{fold}-member0" for fold in (0, 1)]
    assert {path.name for path in Path("run-a/checkpoints").iterdir()} == set(members)
    assert {path.name for path in Path("both/checkpoints").iterdir()} == {
        f"input{i}-{member}" for i in (0, 1) for member in members
    }
    cache = SampleCache("generated")
    assert cache.column("log_ratio/both").stamp["inputs"] == ["features/a", "features/b"]
    assert "inputs" not in cache.column("log_ratio/run-a").stamp
    with pytest.raises(InputError, match=r"several inputs \(features/a, features/b\)"):
        RatioClassifier.load("both")


def test_new_samples_are_scored_as_the_cached_ones(capfd: pytest.CaptureFixture[str]) -> None:
    run = ["data.input=[image, features/pixels]", "run_dir=runs/two"]
    module("train.py").train([*OPTIONS, *run])
    np.save("new.npy", SampleCache("generated")["image"].numpy())
    module("tools/score.py").main(["run=runs/two", "new.npy", "--out", "w.npz"])
    expected = SampleCache("generated")["log_ratio/two"].numpy()
    np.testing.assert_allclose(np.load("w.npz")["log_ratio"], expected, rtol=1e-6)
    shown, _ = module("evaluate.py").evaluate(["run=runs/two"])
    assert np.isfinite(shown["test/uniform/fid"])
    told = refused(capfd, "evaluate.py", "run=runs/two", "data.input=[features/pixels, image]")
    assert "runs/two was trained on column 'image' where 'features/pixels' is to be scored" in told
    told = refused(capfd, "train.py", *OPTIONS, "data.input=[image, image]")
    assert "data.input=['image', 'image']: expected one column or several different ones" in told


def test_new_samples_of_a_run_that_scores_other_rows_than_it_trains_on() -> None:
    """As experiment=cifar10_gan does: the run keeps no row of its training caches to score."""
    fractions = "data.fractions={train: 0.8, validation: 0.2, evaluation: 0.0}"
    apart = ["folds=2", "data.real_evaluation=held", fractions, "data.input=features/pixels", "run_dir=runs/apart"]
    with CacheWriter(Path("held"), source={}) as writer:
        writer.write({"image": SampleCache("real")["image"]})
    module("train.py").train([*OPTIONS, *apart])
    np.save("new.npy", SampleCache("generated")["image"].numpy())
    module("tools/score.py").main(["run=runs/apart", "new.npy", "--out", "w.npz"])
    found = np.load("w.npz")["log_ratio"]
    assert np.isfinite(found).all()
    assert np.corrcoef(found, SampleCache("generated")["log_ratio/apart"])[0, 1] > 0.5  # those are out of fold


def test_labels_of_a_cache_give_new_candidates_their_class_shares() -> None:
    """The weights read the labels that the cache has beside its samples."""
    for name, every in (("real", 2), ("generated", 10)):
        labels = (torch.arange(ROWS) % every == 0).long()
        SampleCache(name).add_column("label", labels, stamp={"name": "label"})
    matched = "evaluation.weightings=[{name: matched, flatten: 0.0, stratify: true}]"
    module("train.py").train([*OPTIONS, "folds=2", "evaluation.strata=label", matched, "run_dir=runs/labelled"])
    arguments = ["--generator", "cache", "--cache", "generated", "--run", "runs/labelled", "--weighting", "matched"]
    module("tools/resample.py").main([*arguments, "--pool", "2", "--num", "60", "--out", "drawn"])
    generated = SampleCache("generated")
    label = {image.numpy().tobytes(): int(c) for image, c in zip(generated["image"], generated["label"], strict=True)}
    drawn = [label[image.numpy().tobytes()] for image in SampleCache("drawn")["image"]]
    # in a fifth of the pools of two one candidate has label 1, and there nine times the weight of the other
    assert 0.13 < np.mean(drawn) <= 0.2


def test_concatenated_inputs_are_one_input() -> None:
    joined = ["data.input=[features/a, features/pixels]", "join=concatenate"]
    found, _ = log_ratios("joined", *joined)
    cache = SampleCache("generated")
    beside = np.concatenate([cache["features/a"], cache["image"].flatten(1) / 255], axis=1)
    np.testing.assert_array_equal(cache["features/a+pixels"], beside)
    assert (Path("joined") / "checkpoints" / "best.ckpt").is_file()
    Path("joined/config.yaml").write_text(compose([*OPTIONS, *joined]).text)
    batch = {"image": cache["image"], "features/a": cache["features/a"]}
    np.testing.assert_allclose(Scorer(Path("joined"))(batch), found, rtol=1e-6)
    with pytest.raises(InputError, match="which no extractor computes"):
        Scorer(Path("joined"))({"image": cache["image"]})


def test_features_that_differ_in_origin_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    SampleCache("real").add_column("features/a", torch.zeros(ROWS, 3), stamp={"name": "a", "sha256": "other"})
    told = refused(capfd, "train.py", *OPTIONS, "data.input=features/a")
    assert "column 'features/a' differs" in told
    assert refused(capfd, "train.py", *OPTIONS, "evaluation.extractors=[a]").startswith("column 'features/a' differs")
    told = refused(capfd, "train.py", *OPTIONS, "evaluation.extractors=[c]")
    assert "no extractor 'c'; extractors: pixels" in told
    told = refused(capfd, "train.py", *OPTIONS, "data.input=[image, features/b]", "join=concatenate")
    assert "puts columns features/… side by side, not 'image'" in told
