"""The digits and their biased generator."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from lfiw import InputError
from lfiw.data import SampleCache
from lfiw.data.splits import GENERATED, REAL
from lfiw.features import FeatureOptions, build_extractor
from lfiw.ratio import digits as module
from lfiw.ratio.digits import LEVELS, DigitsDataModule

OPTIONS: dict[str, Any] = {"keep": [1.0] * 5 + [0.15] * 5, "bandwidth": 0.2, "num_generated": 3000}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DigitsDataModule:
    made = DigitsDataModule(str(tmp_path_factory.mktemp("digits")), **OPTIONS)
    made.prepare_data()
    made.setup()
    return made


def test_the_real_table_is_scikit_learns(data: DigitsDataModule) -> None:
    digits = load_digits()
    real = SampleCache(data.real_path)
    real.verify()
    assert torch.equal((real["image"].double() * (16 / 255)).round().squeeze(1), torch.from_numpy(digits.images))
    assert torch.equal(real["label"], torch.from_numpy(digits.target).long())


def test_generated_samples_look_like_the_real_ones(data: DigitsDataModule) -> None:
    generated = SampleCache(data.generated_path)
    generated.verify()
    assert generated["image"].shape == (3000, 1, 8, 8)
    # only the grey levels that real pixels take
    assert set(generated["image"].unique().tolist()) <= {round(level * 255 / LEVELS) for level in range(LEVELS + 1)}


def test_rare_digits_are_rarer_among_the_generated(data: DigitsDataModule) -> None:
    """By the nearest real digit, an estimate that owes nothing to our classifier."""
    real, generated = data.splits["evaluation"]
    nearest = NearestNeighbors(n_neighbors=1).fit(real.column("image").flatten(1).numpy())
    labels = real.column("label")
    found = labels[torch.from_numpy(nearest.kneighbors(generated.column("image").flatten(1).numpy())[1]).squeeze(1)]
    share = (found >= 5).double().mean().item()
    # the generator sees 0.15 of one half: 0.15/1.15 = 0.13; real: one half
    assert 0.08 < share < 0.2
    assert 0.4 < (labels >= 5).double().mean().item() < 0.6


def test_the_classifier_knows_held_out_digits(data: DigitsDataModule) -> None:
    extractor = build_extractor("classifier", (1, 8, 8), FeatureOptions(classifier_weights=data.classifier_weights))
    held_out = data.splits["evaluation"][REAL]
    with torch.inference_mode():
        out = extractor(held_out.column("image"))
    assert out["features"].shape == (len(held_out), 64)
    accuracy = (out["logits"].argmax(1) == held_out.column("label")).double().mean().item()
    assert accuracy > 0.93


def test_generator_and_classifier_see_training_rows_alone(data: DigitsDataModule, monkeypatch: Any) -> None:
    seen = []
    monkeypatch.setattr(module, "sample_kernel_density", lambda x, num, **_: seen.append(x) or torch.zeros(num, 64))
    monkeypatch.setattr(module, "fit_classifier", lambda path, images, labels: seen.append(images))
    folder = data.real_path.parent / "other"
    other = DigitsDataModule(str(folder), **{**OPTIONS, "keep": [1.0] * 10})
    other.prepare_data()
    other.setup()
    train = other.splits["train"][REAL].column("image")
    assert torch.equal(seen[0].round(), (train.flatten(1).double() * (16 / 255)).round())
    assert torch.equal(seen[1], train)


def test_nothing_is_made_twice_and_other_options_are_other_files(data: DigitsDataModule) -> None:
    files = [data.real_path / "manifest.json", data.generated_path / "manifest.json", data.classifier_weights]
    before = [file.stat().st_mtime_ns for file in files]
    folder = str(data.real_path.parent)
    DigitsDataModule(folder, **OPTIONS, seed=9, batch_size=2).prepare_data()
    assert [file.stat().st_mtime_ns for file in files] == before
    for change in ({"bandwidth": 0.3}, {"num_generated": 5}, {"keep": [1.0] * 10}, {"split_seed": 1}):
        other = DigitsDataModule(folder, **{**OPTIONS, **change})
        assert other.generated_path != data.generated_path
        assert other.classifier_weights != data.classifier_weights


def test_the_samples_are_a_function_of_the_options(data: DigitsDataModule, tmp_path: Path) -> None:
    torch.manual_seed(5)
    again = DigitsDataModule(str(tmp_path), **OPTIONS)
    again.prepare_data()
    digests = [hashlib.sha256(bytes(SampleCache(m.generated_path)["image"].flatten().tolist())) for m in (data, again)]
    assert digests[0].digest() == digests[1].digest()
    assert again.classifier_weights.read_bytes() == data.classifier_weights.read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keep": [1.0] * 9}, "expected ten shares"),
        ({"keep": [0.0] * 10}, "not all zero"),
    ],
)
def test_bad_options(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        DigitsDataModule(str(tmp_path), **{**OPTIONS, **change})


def test_a_generator_without_digits(tmp_path: Path) -> None:
    data = DigitsDataModule(str(tmp_path), **{**OPTIONS, "keep": [1e-9] * 10})
    with pytest.raises(InputError, match="leaves the generator 0 digits"):
        data.prepare_data()
    assert not data.generated_path.exists()


def test_both_sides_go_through_the_module(data: DigitsDataModule) -> None:
    assert [len(pair[GENERATED]) for pair in data.splits.values()] == [1200, 600, 1200]
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].dtype == torch.uint8
