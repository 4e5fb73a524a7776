"""Each benchmark at a tiny size, and whether its two sides compute the same thing. Nothing is said about speed."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as reference

from lfiw.data.transforms import crop, flip
from lfiw.metrics import frechet_distance, frechet_distance_from_features, weighted_moments
from lfiw.schemas import MLP, ResNet
from tools.benchmarks import caches, extraction, journeys, measure, scores, training_steps
from tools.benchmarks.measure import images
from tools.benchmarks.speeds_figure import speeds

ROOT = Path(__file__).parents[1]
# what third parties say on the way, not ours to mend
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore:.*fork.*")]


def check(row: measure.Row, name: str) -> None:
    assert row["name"] == name
    assert row["min"] <= row["ratio"] <= row["max"]
    assert all(math.isfinite(row[key]) and row[key] > 0 for key in ("ours", "theirs", "ratio"))
    assert json.loads(json.dumps(row))["metric"] == "speed_ratio"


def test_cache_readers_give_the_same_images(tmp_path: Path) -> None:
    data = images(40)
    rows = [3, 39, 0, 3, 17]
    for name, read in caches.all_readers(data, tmp_path).items():
        assert torch.equal(read(rows), data[rows]), name


def test_writing_benchmark_runs() -> None:
    (row,) = caches.run_write(2, num_images=300)
    check(row, "cache_write")
    assert row["note"].endswith(("images/s was met", "images/s was missed"))


def test_cache_benchmark_runs() -> None:
    first, second = caches.run_random_batches(2, num_images=300, batch=16, num_batches=3)
    check(first, "cache_random_batches")
    check(second, "cache_random_batches_arrow")


def windows(image: Tensor) -> Tensor:
    """All crops of a padded image and their mirror images, by torchvision, normalised: (2·9·9, 3, 32, 32)."""
    padding = caches.PADDING
    padded = reference.pad(image, [padding] * 4)
    places = range(2 * padding + 1)
    crops = torch.stack([reference.crop(padded, top, left, 32, 32) for top in places for left in places])
    both = torch.cat([crops, reference.horizontal_flip(crops)]).float()
    return (both - caches.MEAN) / caches.STD


def test_both_loaders_draw_from_the_same_crops(tmp_path: Path) -> None:
    data = images(1).repeat(64, 1, 1, 1)
    allowed = windows(data[0]).flatten(1)
    ours = next(iter(caches.normalised(caches.our_loader(data, tmp_path, 64))))
    peers = caches.peer_loaders(data, 64, num_samples=64)
    for batch in (ours, next(iter(peers["0 workers"]))):
        assert batch.shape == (64, 3, 32, 32)
        distances = torch.cdist(batch.flatten(1), allowed)
        assert distances.min(dim=1).values.max() < 1e-2  # float32 distances of 3,072 numbers of size 1
        assert len(distances.argmin(dim=1).unique()) > 20  # of 162: each sample has a draw of its own


def test_crop_and_flip_are_torchvisions() -> None:
    data = images(6)
    offsets = torch.tensor([[0, 0], [8, 8], [4, 4], [0, 8], [3, 5], [7, 1]])
    mirrored = torch.tensor([True, False, True, True, False, False])
    expected = []
    for image, (top, left), mirror in zip(data, offsets.tolist(), mirrored.tolist(), strict=True):
        window = reference.crop(F.pad(image, (4,) * 4), top, left, 32, 32)
        expected.append(reference.horizontal_flip(window) if mirror else window)
    assert torch.equal(flip(crop(data, offsets, 4), mirrored), torch.stack(expected))


def test_loader_benchmark_runs() -> None:
    (row,) = caches.run_loader(2, num_images=64, batch=16, peer_images=32)
    check(row, "loader_crop_flip_normalise")


@pytest.mark.parametrize("n", [20, 60])
def test_frechet_distances_agree(n: int) -> None:
    real, generated = scores.features(n, 32, seed=0), scores.features(n, 32, seed=1)
    metric = scores.torchmetrics_fid(32)
    scores.update(metric, real, generated)
    theirs = metric.compute().item()  # float32, as the features
    assert frechet_distance_from_features(real, generated).item() == pytest.approx(theirs, rel=1e-5)
    moments = *weighted_moments(real), *weighted_moments(generated)
    assert frechet_distance(*moments).item() == pytest.approx(theirs, rel=1e-5)
    # clean-fid's root of a singular product is good to about 1e-4
    assert scores.cleanfid_fid(moments) == pytest.approx(theirs, rel=1e-3)


def test_frechet_benchmarks_run() -> None:
    first, second = scores.run_from_moments(2, n=60, d=16)
    check(first, "frechet_16")
    check(second, "frechet_16_clean_fid")
    (row,) = scores.run_few_samples(2, n=10, d=16)
    check(row, "frechet_few_samples")
    (row,) = scores.run_interval(2, n=60, d=16)
    check(row, "frechet_interval")


@pytest.mark.parametrize(("net", "shape"), [(MLP(width=8), (1, 8, 8)), (ResNet(width=8), (3, 8, 8))])
def test_both_loops_end_with_the_same_weights(net: MLP | ResNet, shape: tuple[int, ...]) -> None:
    alternation, classifier = training_steps.train_ratio(net, shape, steps=2, rounds=1)
    assert len(alternation.ours) == len(alternation.theirs) == 2
    for ours, theirs in zip(classifier.net.parameters(), alternation.bare.module.net.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_trainer_benchmarks_run() -> None:
    row = training_steps.time_ratio("trainer_step_mlp", MLP(width=8), (1, 8, 8), steps=2, rounds=2)
    check(row, "trainer_step_mlp")


def test_a_rate_is_the_inverse_of_the_seconds() -> None:
    row = measure.compare("a", "b", [0.5, 0.5, 0.1], [1.0, 2.0, 0.4], unit="images/s", goal=3.0)
    assert [row[key] for key in ("ratio", "min", "max", "n", "met")] == [4.0, 2.0, 4.0, 3, True]
    assert (row["ours"], row["theirs"]) == (2.0, 1.0)
    assert measure.compare("a", "b", [1.0], [1.0], unit="s", goal=3.0)["met"] is False
    assert measure.compare("a", "b", [1.0], [4.0], unit="s", goal=3.0, at_most=0.5)["met"] is False


def test_the_share_of_a_limit_that_is_reached() -> None:
    """Two seconds where one would do are half of what the hardware allows."""
    row = measure.compare("a", "b", [2.0, 2.0], [4.0, 4.0], unit="s", goal=None, limit=("a copy", 1.0))
    assert row["limit"] == {"what": "a copy", "share": 0.5}
    row = measure.compare("a", "b", [2.0, 4.0], [4.0, 4.0], unit="s", goal=None, limit=("a copy", [1.0, 1.0]))
    assert row["limit"] == {"what": "a copy", "share": (0.5 + 0.25) / 2, "value": 1.0}


def test_the_picture_has_a_bar_for_each_ratio_and_a_dot_for_each_goal() -> None:
    rows = [
        measure.compare("slower", "b", [2.0], [1.0], unit="s", goal=0.75),
        measure.compare("faster", "b", [1.0], [40.0], unit="s", goal=None),
        {"name": "not a ratio", "metric": "seconds", "mean": 3.0},
    ]
    (axes,) = speeds(rows).axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    ends = [bar.get_x() + bar.get_width() for bar in axes.patches]
    assert dict(zip(names, ends, strict=True)) == {"slower": 0.5, "faster": 40.0}
    assert names == ["slower", "faster"]  # from the bottom
    (goals,) = (line for line in axes.lines if line.get_label() == "goal")
    assert goals.get_xydata().tolist() == [[0.75, 0.0]]


def test_wrong_name_is_told() -> None:
    command = [sys.executable, ROOT / "tools" / "benchmark.py", "--only", "nothing"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "frechet_2048" in result.stderr


def test_both_inceptions_compute_the_same() -> None:
    data = images(3)
    ours = extraction.extract(extraction.InceptionFeatures(measure.IMAGE).eval(), data)
    theirs = extraction.peer_features(extraction.torch_fidelity(), data, 2)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_inception_benchmark_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "PEER_BATCHES", (2,))
    fp32, bf16 = extraction.run_inception(1, num_images=2)
    check(fp32, "inception_fp32")
    check(bf16, "inception_bf16")


def test_reweighting_benchmarks_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "SAMPLE", 2)
    score, more = extraction.run_weighting(1, n=300)
    check(score, "score_10k")
    # a difference of two times, which for so few rows is as often below zero
    assert more["name"] == "reweight_10k"
    assert math.isfinite(more["ratio"])
    check(extraction.run_epoch(2, n=600)[0], "ratio_epoch")


def test_both_augmentation_loops_end_with_the_same_weights() -> None:
    alternation, module = training_steps.train_augmentation(3, 1, side=8, width=8, classes=4)
    assert len(alternation.ours) == len(alternation.theirs) == 2
    for ours, theirs in zip(module.net.parameters(), alternation.bare.module.net.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_augmentation_benchmark_runs() -> None:
    check(training_steps.run_augmentation(1, steps=2, side=8, width=8, classes=4)[0], "augmentation_step")


def test_a_process_is_measured_with_its_children() -> None:
    """Half a second of work in a child, 200 MiB in the process itself."""
    work = "import time; t = time.process_time()\nwhile time.process_time() < t + 0.5: pass"
    used = journeys.used_by(
        ["-c", f"import subprocess, sys; x = bytearray(200 << 20); subprocess.run([sys.executable, '-c', {work!r}])"]
    )
    assert 0.5 <= used.cpu_seconds < 3
    assert used.seconds > 0.5
    assert 200 < used.peak_mib < 400
    with pytest.raises(RuntimeError, match="exit code 3"):
        journeys.used_by(["-c", "raise SystemExit(3)"])


def test_the_exponent_of_a_power_and_the_sizes_that_take_too_long() -> None:
    def work(real: Tensor, generated: Tensor) -> float:
        assert real.shape == generated.shape
        return len(real) ** 1.5 / 1e3

    row = journeys.growth_row("a", "work", work, [100, 200, 400, 800, 1600], 3, most_seconds=1e9)
    assert row["mean"] == pytest.approx(1.5)
    assert row["sizes"] == [100, 200, 400, 800, 1600]
    # 1 + 2.8 + 8 seconds, and up to 32 for the next
    assert journeys.growth_row("a", "work", work, [100, 200, 400, 800], 3, most_seconds=40)["sizes"] == [100, 200, 400]


def test_journeys_run_at_tiny_sizes() -> None:
    row = journeys.command_row("help", "help", lambda: ["-c", "pass"], 2)
    assert row["ratio"] > 1  # nothing is faster than importing torch
    assert min(row[key] for key in ("ours", "theirs", "cpu_seconds", "cpu_ratio", "peak_mib")) > 0
    growth = journeys.growth([1000, 2000], d=4)
    assert [r["sizes"] for r in growth] == [[1000, 2000]] * 5
    assert all(math.isfinite(r["mean"]) for r in growth)
    for row in journeys.peers([1100], [60], d=4):
        check(row, row["name"])
    errors = {r["name"]: r for r in journeys.pair_errors(60, 3, [20, 60], 3)}
    assert len(errors) == 2 * 5
    assert errors["pair_rows_kid_60"]["mean"] == pytest.approx(0, abs=1e-12)  # all rows, in another order
    assert errors["pair_rows_kid_20"]["spread"] > 0
    journeys.score_features(300, 70)
