"""The pass that scores: equal to the metrics' functions on the arrays, weighting by weighting."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lfiw import Weighting
from lfiw.data import TensorTable
from lfiw.data.splits import InOrderDataModule, Subset, evenly_spaced
from lfiw.evaluation.module import Evaluation, FeatureColumn, LogitColumn, paper_weights
from lfiw.evaluation.scored_rows import ScoredRows
from lfiw.evaluation.scored_weightings import weights_of
from lfiw.evaluation.uncertainty import Columns, scored_metrics
from lfiw.metrics import (
    frechet_distance_from_features,
    inception_score,
    kernel_distance,
    precision_recall,
)
from lfiw.metrics.influence import kernel_contributions
from lfiw.metrics.paper import PaperFrechetDistance, PaperInceptionScore, PaperKernelDistance
from lfiw.schemas import Trainer
from lfiw.training.trainer import build_trainer

D, C = 4, 3
WEIGHTINGS = {
    "uniform": Weighting(flatten=0.0),
    "self-normalised": Weighting(),
    "half": Weighting(flatten=0.5),
    "clipped": Weighting(clip=1.0),
    "smoothed": Weighting(smooth=True),
}
FEATURES = [FeatureColumn("features/a", D), FeatureColumn("features/b", 2, "@b")]
LOGITS = LogitColumn("logits/c", C, "@c")


def table(n: int, shift: float, seed: int) -> TensorTable:
    g = torch.Generator().manual_seed(seed)
    return TensorTable(
        {
            "features/a": torch.randn(n, D, generator=g) + shift,
            "features/b": torch.randn(n, 2, generator=g) * (1 + shift),
            "logits/c": torch.randn(n, C, generator=g) * 2 + torch.tensor([shift, 0.0, 0.0]),
            "log_ratio": torch.randn(n, dtype=torch.float64, generator=g),
        }
    )


def rows(n: int, count: int, seed: int) -> torch.Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:count].sort().values


REAL = Subset(table(90, 0.0, 0), rows(90, 50, 1))
GENERATED = Subset(table(120, 0.5, 2), rows(120, 80, 3))
REFERENCE = Subset(table(90, 0.0, 0), rows(90, 90, 1)[50:])


def run(
    folder: Path, batch_size: int, logits: tuple[LogitColumn, ...] = (LOGITS,), reference: bool = True, **options: Any
) -> Evaluation:
    subsets = [REAL, GENERATED, REFERENCE][: 3 if reference else 2]
    columns = ["features/a", "features/b", "logits/c"]
    data = InOrderDataModule(lambda: [subsets], columns, batch_size=batch_size)
    rows = ScoredRows(REAL, GENERATED, GENERATED.column("log_ratio"))
    weights = weights_of(WEIGHTINGS, rows, options.get("convention", "standard"))
    module = Evaluation(weights, FEATURES, logits, with_reference=reference, **options)
    trainer = build_trainer(Trainer(accelerator="cpu", progress=False), folder, [])
    trainer.test(module, datamodule=data, verbose=False)
    return module


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    return run(tmp_path_factory.mktemp("scored"), batch_size=37)


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    return run(tmp_path_factory.mktemp("paper"), batch_size=37, convention="paper")


def weights(name: str) -> torch.Tensor:
    return WEIGHTINGS[name](GENERATED.column("log_ratio"))


@pytest.mark.parametrize("i", range(len(WEIGHTINGS)), ids=WEIGHTINGS)
def test_each_weighting_equals_the_functions(scored: Evaluation, i: int) -> None:
    w = weights(list(WEIGHTINGS)[i])
    for column in FEATURES:
        real, generated = REAL.column(column.name), GENERATED.column(column.name)
        fid = frechet_distance_from_features(real, generated, generated_weights=w).item()
        assert scored.scores[f"fid{column.suffix}"][i] == pytest.approx(fid, rel=1e-8)
        kid = kernel_distance(real, generated, generated_weights=w).item()
        assert scored.scores[f"kid{column.suffix}"][i] == pytest.approx(kid, rel=1e-8, abs=1e-12)
    probabilities = GENERATED.column("logits/c").double().softmax(1)
    assert scored.scores["is@c"][i] == pytest.approx(inception_score(probabilities, w).item(), rel=1e-10)
    classes = GENERATED.column("logits/c").argmax(1).numpy()
    np.testing.assert_allclose(scored.proportions[i], np.bincount(classes, weights=w, minlength=C), rtol=1e-10)


def test_neighbourhood_scores(tmp_path: Path, paper: Evaluation) -> None:
    evaluation = run(tmp_path, batch_size=37, neighbours=2)
    assert "precision" not in paper.scores
    for column in FEATURES:
        real, generated = REAL.column(column.name), GENERATED.column(column.name)
        for i, name in enumerate(WEIGHTINGS):
            expected = precision_recall(real, generated, None, weights(name), neighbours=2)
            for score, value in expected.items():
                assert evaluation.scores[f"{score}{column.suffix}"][i] == pytest.approx(value.item(), rel=1e-6)
        other = precision_recall(real, REFERENCE.column(column.name), neighbours=2)
        assert evaluation.reference[f"recall{column.suffix}"] == [pytest.approx(other["recall"].item(), rel=1e-6)]


def test_pairs_of_some_rows(tmp_path: Path) -> None:
    """KID and neighbours of the rows that are named, FID of all."""
    pairs = {0: evenly_spaced(50, 20), 1: evenly_spaced(80, 30), 2: evenly_spaced(40, 10)}
    evaluation = run(tmp_path, batch_size=37, neighbours=2, pairs=pairs)
    whole = run(tmp_path, batch_size=80, neighbours=2)
    for column in FEATURES:
        real, generated = REAL.column(column.name)[pairs[0]], GENERATED.column(column.name)[pairs[1]]
        for i, name in enumerate(WEIGHTINGS):
            w = weights(name)[pairs[1]]
            kid = kernel_distance(real, generated, generated_weights=w).item()
            assert evaluation.scores[f"kid{column.suffix}"][i] == pytest.approx(kid, rel=1e-8, abs=1e-12)
            recall = precision_recall(real, generated, None, w, neighbours=2)["recall"].item()
            assert evaluation.scores[f"recall{column.suffix}"][i] == pytest.approx(recall, rel=1e-6)
        reference = REFERENCE.column(column.name)[pairs[2]]
        assert evaluation.reference[f"kid{column.suffix}"] == [pytest.approx(kernel_distance(real, reference).item())]
        assert evaluation.scores[f"fid{column.suffix}"] == pytest.approx(whole.scores[f"fid{column.suffix}"])


def test_intervals_and_further_weights_of_pairs_of_some_rows(tmp_path: Path) -> None:
    pairs = {0: evenly_spaced(50, 20), 1: evenly_spaced(80, 30)}
    further = torch.rand(80, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    evaluation = run(tmp_path, batch_size=37, pairs=pairs, further=further)
    for column in FEATURES:
        scored = scored_metrics(evaluation, REAL, GENERATED)[f"kid{column.suffix}"]()
        real, generated = REAL.column(column.name)[pairs[0]], GENERATED.column(column.name)[pairs[1]]
        found, w = scored.contributions(evaluation.weights), evaluation.weights[pairs[1]]
        expected = kernel_distance(real, generated, generated_weights=w)
        torch.testing.assert_close(found.score, expected)
        torch.testing.assert_close(
            found.standard_errors(), kernel_contributions(real, generated, w).standard_errors(), rtol=1e-8, atol=0
        )
        of_further = kernel_distance(real, generated, generated_weights=further[pairs[1]])
        torch.testing.assert_close(scored.further(further), of_further)
        assert (scored.num_real, scored.limit) == (20, None)


def test_weights_of_some_rows_sum_to_one_and_their_permutations_keep_them() -> None:
    weights = torch.rand(80, 2, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    weights[:, 0] = 0.25
    chosen = evenly_spaced(80, 30)
    columns = Columns.of(weights, weights[:, 1:].square(), chosen, permutations=3, seed=1)
    np.testing.assert_allclose(columns.weights, weights[chosen] / weights[chosen].sum(0))
    np.testing.assert_allclose(columns.exponents[:, 0], weights[chosen, 1] ** 2 / (weights[chosen, 1] ** 2).sum())
    assert (list(columns.uneven), columns.permuted.shape) == ([1], (30, 3))  # the even column is its own control
    for column in columns.permuted.T:
        assert column.sort().values.tolist() == columns.weights[:, 1].sort().values.tolist()


def test_names(scored: Evaluation, paper: Evaluation) -> None:
    assert set(scored.scores) == {"fid", "kid", "fid@b", "kid@b", "is@c", "class_distance@c"}
    assert set(paper.scores) == {"fid_paper", "kid_paper", "fid_paper@b", "kid_paper@b", "is_paper@c"}
    for evaluation in (scored, paper):
        assert set(evaluation.reference) == set(evaluation.scores)
        assert all(len(values) == len(WEIGHTINGS) for values in evaluation.scores.values())
        assert all(len(values) == 1 for values in evaluation.reference.values())


def test_reference_rows_are_scored_as_if_generated(scored: Evaluation, paper: Evaluation) -> None:
    for column in FEATURES:
        real, reference = REAL.column(column.name), REFERENCE.column(column.name)
        fid = frechet_distance_from_features(real, reference).item()
        kid = kernel_distance(real, reference).item()
        assert scored.reference[f"fid{column.suffix}"] == pytest.approx([fid], rel=1e-8)
        # uniform rows have no scale that could differ
        assert paper.reference[f"fid_paper{column.suffix}"] == pytest.approx([fid], rel=1e-8)
        assert scored.reference[f"kid{column.suffix}"] == pytest.approx([kid], rel=1e-8, abs=1e-12)
    probabilities = REFERENCE.column("logits/c").double().softmax(1)
    assert scored.reference["is@c"] == pytest.approx([inception_score(probabilities).item()], rel=1e-10)


def test_real_proportions(scored: Evaluation) -> None:
    counts = torch.bincount(REAL.column("logits/c").argmax(1), minlength=C)
    np.testing.assert_allclose(scored.real_proportions, counts / 50, rtol=1e-6)


def test_paper_scores_are_those_of_the_paper_weights(paper: Evaluation) -> None:
    log_ratio = GENERATED.column("log_ratio")
    w = torch.stack([paper_weights(weighting, log_ratio, None) for weighting in WEIGHTINGS.values()], dim=1)
    k = len(WEIGHTINGS)
    fid, kid = PaperFrechetDistance(D, k), PaperKernelDistance(D, k)
    for metric in (fid, kid):
        metric.update(REAL.column("features/a"), real=True)
        metric.update(GENERATED.column("features/a"), real=False, weights=w)
    score = PaperInceptionScore(C, k)
    score.update(GENERATED.column("logits/c").double().softmax(1), w)
    for name, metric in (("fid_paper", fid), ("kid_paper", kid), ("is_paper@c", score)):
        assert paper.scores[name] == pytest.approx(metric.compute().tolist(), rel=1e-8, abs=1e-12)


def test_paper_weights() -> None:
    log_ratio = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64)
    ratio = np.exp(log_ratio.numpy())
    np.testing.assert_allclose(paper_weights(Weighting(), log_ratio, None), ratio / ratio.sum())
    np.testing.assert_allclose(paper_weights(Weighting(flatten=0.5), log_ratio, None), ratio**0.5 / 3)
    np.testing.assert_allclose(paper_weights(Weighting(clip=0.7), log_ratio, None), np.maximum(ratio, 0.7) / 3)
    np.testing.assert_allclose(paper_weights(Weighting(flatten=0.0), log_ratio, None), np.full(3, 1 / 3))


@pytest.mark.parametrize("batch_size", [3, 1000])
def test_batches_do_not_matter(scored: Evaluation, paper: Evaluation, tmp_path: Path, batch_size: int) -> None:
    for convention, expected in (("standard", scored), ("paper", paper)):
        other = run(tmp_path, batch_size, convention=convention)
        for name, values in expected.scores.items():
            assert other.scores[name] == pytest.approx(values, rel=1e-8, abs=1e-12), name
    np.testing.assert_allclose(other.proportions, scored.proportions, rtol=1e-10)


def test_without_logits_and_reference(scored: Evaluation, tmp_path: Path) -> None:
    other = run(tmp_path, 100, logits=(), reference=False)
    assert other.scores == {name: pytest.approx(scored.scores[name]) for name in ("fid", "kid", "fid@b", "kid@b")}
    assert (other.reference, other.proportions, other.real_proportions) == ({}, [], [])


def test_several_logit_columns(scored: Evaluation, tmp_path: Path) -> None:
    """An Inception Score for each, class proportions by the last."""
    other = run(tmp_path, 100, logits=(LogitColumn("features/a", D), LOGITS))
    assert other.scores["is@c"] == pytest.approx(scored.scores["is@c"])
    probabilities = GENERATED.column("features/a").double().softmax(1)
    assert other.scores["is"][1] == pytest.approx(inception_score(probabilities, weights("self-normalised")).item())
    np.testing.assert_allclose(other.proportions, scored.proportions)
