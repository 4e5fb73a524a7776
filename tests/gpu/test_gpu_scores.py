"""Scores on a GPU from the same features: those of the CPU."""

from pathlib import Path

import pytest
import torch
from devices import DEVICES
from torch import Tensor

from lfiw import InputError
from lfiw.data import TensorTable
from lfiw.data.table import has_float64, in_float64
from lfiw.evaluation import scoring
from lfiw.evaluation.module import FeatureColumn
from lfiw.evaluation.record import Metric
from lfiw.evaluation.scored_rows import ScoredRows
from lfiw.metrics import FrechetDistance, InceptionScore, KernelDistance
from lfiw.metrics.class_proportions import RatioScores
from lfiw.metrics.neighbours import PrecisionRecall
from lfiw.metrics.weighted_metric import TwoSidedMetric
from lfiw.ratio import classifier
from lfiw.ratio.classifier import RatioClassifier
from lfiw.ratio.mixed import MixedDataModule
from lfiw.schemas import Evaluation as Options
from lfiw.schemas import Trainer
from lfiw.training.trainer import build_trainer, fit
from lfiw.weighting.calibration import Validation


def rows(num: int, seed: int) -> Tensor:
    return torch.randn(num, 32, generator=torch.Generator().manual_seed(seed)).relu_()


def weights(num: int) -> Tensor:
    return torch.rand(num, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("metric", [FrechetDistance, KernelDistance])
def test_distances(metric: type[TwoSidedMetric], deterministic: bool, device: str) -> None:
    torch.use_deterministic_algorithms(deterministic)
    found = []
    for place in ("cpu", device):
        score = metric(32, 3).to(place)
        for real, generated, w in zip(
            rows(300, 0).split(70), rows(280, 1).split(70), weights(280).split(70), strict=False
        ):
            score.update(real.to(place), real=True)
            score.update(generated.to(place), real=False, weights=w.to(place))
        assert score.compute().device.type == place
        found.append(score.compute().cpu())
    torch.testing.assert_close(found[1], found[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("device", DEVICES)
def test_inception_score(device: str) -> None:
    probabilities = rows(200, 0).double().softmax(1)
    found = []
    for place in ("cpu", device):
        score = InceptionScore(num_classes=32, num_weightings=3).to(place)
        score.update(probabilities.to(place), weights=weights(200).to(place))
        found.append(score.compute().cpu())
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_neighbours(device: str) -> None:
    """Shares of rows: comparisons of distances are exact."""
    found = []
    for place in ("cpu", device):
        score = PrecisionRecall(32, 3, 3).to(place)
        score.update(rows(150, 0).to(place), real=True)
        score.update(rows(140, 1).to(place), real=False, weights=weights(140).to(place))
        found.append({name: value.cpu() for name, value in score.compute().items()})
    for name, expected in found[0].items():
        torch.testing.assert_close(found[1][name], expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("deterministic", [False, True])
def test_scores_of_log_ratios(deterministic: bool, device: str) -> None:
    torch.use_deterministic_algorithms(deterministic)
    log_ratio, is_real = rows(300, 0)[:, 0] - 0.5, rows(300, 1)[:, 0] > 0
    found = []
    for place in ("cpu", device):
        score = RatioScores().to(place)
        score.update(log_ratio.to(place), is_real.to(place))
        found.append({name: value.cpu().double() for name, value in score.compute().items()})
    for name, expected in found[0].items():
        torch.testing.assert_close(found[1][name], expected, rtol=1e-6, atol=1e-9, msg=name)


def test_apples_gpus_have_no_float64() -> None:
    assert [has_float64(torch.device(name)) for name in ("cpu", "cuda", "mps")] == [True, True, False]
    assert in_float64(torch.tensor([0.5])).equal(torch.tensor([0.5], dtype=torch.float64))


def test_a_device_without_float64_leaves_the_scores_to_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(scoring, "has_float64", lambda device: False)
    of_the_device = build_trainer(Trainer(accelerator="cpu", progress=False), tmp_path, [])
    real, generated = rows(60, 0), rows(50, 1)
    scored = ScoredRows.of_tensors({"features": real}, {"features": generated}, torch.zeros(50, dtype=torch.float64))
    options = Options(intervals=False, permutations=0, exponents=[], balance=False)
    sides = rows(40, 2)[:, 0].double(), rows(40, 3)[:, 0].double()
    record = scoring.score(
        scored, Validation(sides, sides), [FeatureColumn("features", 32)], options=options, trainer=of_the_device
    )
    assert of_the_device.state.fn is None
    fid = FrechetDistance(32)
    fid.update(real, real=True)
    fid.update(generated, real=False)
    assert record.weightings[0].metrics[Metric("fid")].value == pytest.approx(fid.compute().item(), rel=1e-9)


def test_float64_samples_need_float64(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(classifier, "has_float64", lambda device: False)
    tables = TensorTable({"vector": rows(60, 0).double()}), TensorTable({"vector": rows(60, 1).double()})
    data = MixedDataModule(*tables, input="vector", batch_size=8)
    trainer = build_trainer(Trainer(accelerator="cpu", max_epochs=1, progress=False), tmp_path, [])
    with pytest.raises(InputError, match=r"cpu has no float64, as column 'vector' is: use trainer\.accelerator=cpu"):
        fit(trainer, RatioClassifier("mlp"), data)
