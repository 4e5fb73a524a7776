"""The study of strangers' generators: its files, its judge's arithmetic, and the whole of it on a few images."""

import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from lfiw.errors import InputError
from tools.studies import fashion_mnist, strangers
from tools.studies.kept import Kept


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Bars whose height is their class, in the format of MNIST; the test split is not compressed."""
    random = np.random.default_rng(0)
    for split, n in (("train", 700), ("t10k", 60)):
        labels = random.integers(0, 10, n).astype(np.uint8)
        images = random.integers(0, 60, (n, 28, 28)).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[: 2 * label + 4] += 190
        for name, values in ((f"{split}-images-idx3-ubyte", images), (f"{split}-labels-idx1-ubyte", labels)):
            sizes = np.array(values.shape, ">u4").tobytes()
            content = bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes()
            if split == "train":
                (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize(("split", "n"), [("train", 700), ("t10k", 60)])
def test_images_keep_their_labels_in_a_fixed_order(folder: Path, split: str, n: int) -> None:
    images, labels = fashion_mnist.read(folder, split)
    assert (images.shape, images.dtype, len(labels)) == ((n, 1, 28, 28), torch.uint8, n)
    bright = (images[:, 0, :, 0] >= 190).sum(1)
    assert torch.equal(bright, 2 * labels + 4)
    assert torch.equal(images, fashion_mnist.read(folder, split)[0])


def test_a_folder_without_the_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"fashion_mnist=.*no train-images-idx3-ubyte\.gz there"):
        fashion_mnist.read(tmp_path)


def test_preferred_classes_stand_four_times_as_often() -> None:
    labels = torch.arange(10).repeat(4000)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        counts = torch.bincount(labels[fashion_mnist.preferring([1, 5], labels)]).double()
    expected = torch.where(torch.isin(torch.arange(10), torch.tensor([1, 5])), 4.0, 1.0) / 16 * 40_000
    assert ((counts - expected).abs() < 5 * expected.sqrt()).all()


def test_class_distances_and_their_paired_intervals() -> None:
    """Two classes: |p − r| with p above r; the difference's variance by the influence of each generated row."""
    random = np.random.default_rng(0)
    real, generated = random.binomial(1, 0.3, 3000), random.binomial(1, 0.6, 2000)
    weights = np.stack([np.full(2000, 1 / 2000), random.lognormal(0, 0.5, 2000)], axis=1)
    normalised = weights / weights.sum(0)
    shares = generated @ normalised
    sides = [torch.from_numpy(side) for side in (real, generated, weights)]
    values, widths = strangers.class_distances(*sides)
    np.testing.assert_allclose(values, shares - real.mean(), rtol=1e-12)
    influence = normalised * (generated[:, None] - shares)
    expected = 1.96 * np.sqrt(((influence[:, 1] - influence[:, 0]) ** 2).sum())
    assert widths[0] == 0
    assert widths[1] == pytest.approx(expected, rel=0.12)  # 1,000 resamples: a standard deviation to 2.2 %


def test_the_whole_study_resumes_and_uses_what_is_there(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parts = {"GENERATORS": slice(0, 300), "REAL": slice(300, 500), "HELD_OUT": slice(500, 700)}
    sizes = {"NUM_GENERATED": 220, "GAN_STEPS": 2, "VAE_EPOCHS": 1, "JUDGE_EPOCHS": 2, "BATCH": 110}
    for name, value in {**parts, **sizes}.items():
        monkeypatch.setattr(fashion_mnist, name, value)
    monkeypatch.setattr(strangers, "RESAMPLES", 20)
    made: Counter[str] = Counter()

    def counted(name: str, made_by=fashion_mnist.generated):
        return lambda *arguments: made.update([name]) or made_by(*arguments)

    monkeypatch.setattr(fashion_mnist, "generated", counted("generated"))
    monkeypatch.setattr(fashion_mnist, "train_judge", counted("judge", fashion_mnist.train_judge))
    quick = ["model=mlp", "model.width=8", "folds=1", "trainer.max_epochs=1", "trainer.progress=false", "logger=none"]
    quick += ["evaluation.figures=false", "evaluation.exponents=[]", "evaluation.permutations=0"]
    overrides = ["setting=default", f"fashion_mnist={folder}", "evaluation.intervals=false", *quick]
    rows, pictures = strangers.run(1, overrides, Kept(tmp_path / "kept", []))
    assert [picture.name for picture in pictures] == ["gan.png", "vae.png"]
    names = {row["name"] for row in rows}
    for generator in ("gan", "vae"):
        for weighting in ("uniform", "self-normalised", "auto"):
            assert f"{generator}, default: {weighting}" in names
    found = {(row["name"], row["metric"]): row["mean"] for row in rows}
    assert 0 <= found["gan, default: auto", "class_distance@lenet"] <= 1
    assert found["gan, default: uniform", "difference_fid@lenet"] == 0
    assert found["judge", "accuracy"] > 0
    monkeypatch.setattr(strangers, "one_run", lambda overrides: pytest.fail("the run was kept"))
    assert strangers.run(1, overrides, Kept(tmp_path / "kept", []))[0] == rows
    assert made == {"generated": 2, "judge": 1}
    with pytest.raises(InputError, match="setting=best: expected one of default, mlp, resnet"):
        strangers.run(1, ["setting=best"], Kept(tmp_path / "kept", []))
