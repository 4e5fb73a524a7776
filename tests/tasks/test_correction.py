"""`correct`: ratio, gate and scores in one call, on real rows that the ratio never saw."""

import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression

from lfiw import Correction, InputError, Weighting, correct
from lfiw.schemas import Evaluation, WeightingSpec
from lfiw.tasks.correction import split_real

SHIFT, DIMENSION = 0.5, 4
QUICK: dict[str, Any] = {"classifier": LogisticRegression(), "folds": 3}


def gaussians(num_real: int, num_generated: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = ((num_real, DIMENSION), (num_generated, DIMENSION))
    return random.normal(size=shapes[0]) + SHIFT, random.normal(size=shapes[1])


@pytest.fixture(scope="module")
def result() -> Correction:
    return correct(*gaussians(2000, 2000), **QUICK)


def frechet(real: np.ndarray, generated: np.ndarray, weights: np.ndarray) -> float:
    """‖μ_r − μ‖² + tr(Σ_r + Σ − 2(Σ_rΣ)^½), Σ as numpy.cov(aweights) has it."""
    covariances = np.cov(real.T), np.cov(generated.T, aweights=weights)
    shift = real.mean(0) - weights @ generated / weights.sum()
    return float(shift @ shift + np.trace(sum(covariances) - 2 * scipy.linalg.sqrtm(covariances[0] @ covariances[1])))


def test_scores_are_those_of_the_weights(result: Correction) -> None:
    real = result.rows.real.column("features/standardised").numpy()
    generated = result.rows.generated.column("features/standardised").numpy()
    assert real.shape == (800, DIMENSION)  # 40 % of the real rows
    assert generated.shape == (2000, DIMENSION)
    frame = result.scores.to_frame().set_index(["weighting", "score"])
    uniform = np.full(2000, 1 / 2000)
    for name, weights in (("uniform", uniform), ("auto", result.weights)):
        assert frame.loc[(name, "fid"), "value"] == pytest.approx(frechet(real, generated, weights), rel=1e-6)
        assert frame.loc[(name, "fid"), "ess"] == pytest.approx(1 / np.square(weights).sum())
    auto = frame.loc[("auto", "fid")]
    assert auto["recommended"]
    assert auto["low"] < auto["value"] < auto["high"]
    assert auto["difference"] == pytest.approx(auto["value"] - frame.loc[("uniform", "fid"), "value"])
    assert auto["difference_high"] < 0


def test_weights_are_those_of_the_recommended_weighting(result: Correction) -> None:
    assert result.verdict == result.record.verdict == "corrects"
    assert result.weights.sum() == pytest.approx(1)
    expected = Weighting(smooth=True)(torch.from_numpy(result.log_ratio)).numpy()
    np.testing.assert_allclose(result.weights, expected)
    assert np.array_equal(result.log_ratio, result.ratio.log_ratio_)
    named = Evaluation(
        permutations=0, exponents=[], reference="none", weightings=[WeightingSpec("half", 0.5)], intervals=False
    )
    other = correct(*gaussians(300, 300), options=named, weighting="half", **QUICK)
    log_weights = 0.5 * other.log_ratio
    np.testing.assert_allclose(other.weights, np.exp(log_weights) / np.exp(log_weights).sum())


def test_weighted_means_are_those_of_the_data() -> None:
    errors = []
    for seed in range(8):
        real, generated = gaussians(2500, 2500, seed)
        errors.append(correct(real, generated, seed=seed, **QUICK).weights @ generated.mean(1) - SHIFT)
    assert abs(np.mean(errors)) < 3 * np.std(errors, ddof=1) / math.sqrt(len(errors))
    assert np.std(errors) < SHIFT / 5  # or the first would say nothing


class Spy(ClassifierMixin, BaseEstimator):
    """Notes the first feature of every row that any clone is fitted on or asked about."""

    seen: ClassVar[set[float]] = set()

    def fit(self, x: np.ndarray, y: np.ndarray) -> "Spy":
        self.classes_ = np.unique(y)
        Spy.seen |= set(x[:, 0])
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        Spy.seen |= set(x[:, 0])
        return np.column_stack([1 - (x[:, 0] % 7 + 1) / 9, (x[:, 0] % 7 + 1) / 9])


@pytest.mark.parametrize("grouped", [False, True])
def test_real_rows_that_are_scored_train_calibrate_and_choose_nothing(grouped: bool) -> None:
    Spy.seen = set()
    random = np.random.default_rng(0)
    rows = np.column_stack([np.arange(400.0), random.normal(size=400)])
    groups = random.permutation(np.repeat(np.arange(50), 4))
    found = correct(
        rows[:200],
        rows[200:],
        lambda batch: batch,
        groups=(groups, None) if grouped else (None, None),
        classifier=Spy(),
        folds=2,
    )
    scored_real, scored_generated = (
        {int(row) for row in subset.column("features/lambda")[:, 0]}
        for subset in (found.rows.real, found.rows.generated)
    )
    of_real = {row for row in scored_real if row < 200}
    seen = {int(row) for row in Spy.seen if row < 200}
    assert not of_real & seen
    assert of_real | seen == set(range(200))
    assert len(of_real) == pytest.approx(80, abs=4)
    assert scored_generated == set(range(200, 400))  # every generated row is scored
    if grouped:
        assert not {groups[row] for row in of_real} & {groups[row] for row in seen}


def test_features_of_any_kind() -> None:
    real, generated = gaussians(300, 300)

    def squares(batch: np.ndarray) -> torch.Tensor:
        assert len(batch) <= 1000
        return torch.from_numpy(batch) ** 2

    options: dict[str, Any] = {**QUICK, "seed": 1}
    by_function = correct(real, generated, squares, **options)
    by_arrays = correct(real, generated, (real**2, generated**2), **options)
    assert by_function.record.extractors[0].name == "squares"
    assert by_arrays.record.extractors[0].name == "given"
    for one, other in zip(by_function.record.weightings, by_arrays.record.weightings, strict=True):
        assert {str(m): s.value for m, s in one.metrics.items()} == {str(m): s.value for m, s in other.metrics.items()}


def test_a_function_gets_samples_as_they_were_given() -> None:
    real, generated = (pd.DataFrame(x, columns=list("abcd")) for x in gaussians(200, 200))
    found = correct(real, generated, lambda frame: frame[["a", "b"]].to_numpy(), **QUICK)
    assert found.rows.generated.column(found.record.extractors[0].key and "features/lambda").shape == (200, 2)
    kinds = []
    tensors = [torch.from_numpy(frame.to_numpy(copy=True)) for frame in (real, generated)]
    correct(*tensors, lambda batch: kinds.append(type(batch)) or batch, **QUICK)
    assert set(kinds) == {torch.Tensor}


@pytest.mark.parametrize("form", ["array", "tensor", "frame"])
def test_resampled_samples_have_the_form_of_the_generated_ones(form: str) -> None:
    forms: dict[str, Any] = {
        "array": np.asarray,
        "tensor": torch.from_numpy,
        "frame": lambda x: pd.DataFrame(x, columns=list("abcd")),
    }
    real, generated = gaussians(1500, 1500)
    found = correct(forms[form](real), forms[form](generated), **QUICK)
    drawn = found.resample(2000)
    assert type(drawn) is type(forms[form](generated))
    assert drawn.shape == (2000, DIMENSION)
    rows = found.resampled_rows(2000)
    assert np.array_equal(np.asarray(drawn), generated[rows.numpy()])
    # systematic resampling: each row as often as its weight says, up to one
    counts = np.bincount(rows.numpy(), minlength=1500)
    assert np.abs(counts - 2000 * found.weights).max() < 1 + 1e-9
    assert not np.array_equal(rows, np.sort(rows))
    assert not np.array_equal(rows, found.resampled_rows(2000, seed=5))


def test_what_there_is_to_read(result: Correction, tmp_path: Path) -> None:
    text = str(result)
    for part in ("2,000 generated against 800 real rows", "auto ★", "FID ↓", "KID ↓", "★ auto: corrects. "):
        assert part in text
    assert "auto ★" in str(result.scores)
    assert repr(result).startswith("<Correction of 2,000 generated samples, ★ auto: corrects. ")
    html = result._repr_html_()
    assert "Weighting corrects this generator." in html
    assert html.count("<table") == html.count("</table>") == 2
    page = result.report(tmp_path / "report.html").read_text()
    assert "Weighting corrects this generator." in page
    assert page.count("<img") >= 4
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_nothing_is_printed_or_left(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    correct(*gaussians(100, 100), folds=2, max_epochs=2)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_images(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    real, generated = (random.integers(0, top, (150, 1, 4, 4), dtype=np.uint8) for top in (256, 200))
    found = correct(real, generated, **QUICK)
    assert found.record.extractors[0].name == "pixels"
    assert found.rows.generated.column("features/pixels").shape == (150, 16)
    assert "Highest weight" in found.report(tmp_path / "report.html").read_text()
    assert found.resample(5).shape == (5, 1, 4, 4)


def test_sides_of_one_distribution_have_nothing_to_correct() -> None:
    random = np.random.default_rng(3)
    found = correct(random.normal(size=(500, 2)), random.normal(size=(500, 2)), **QUICK)
    assert found.verdict == "nothing to correct"
    np.testing.assert_allclose(found.weights, 1 / 500)


def raises(batch: Any) -> Any:
    raise RuntimeError("no such layer")


X = np.random.default_rng(0).normal(size=(60, 3))
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "share": ({"held_out": 0.0}, r"held_out=0\.0 must lie in \(0, 1\)"),
    "no row left": ({"held_out": 0.01}, r"the scored split has no row|leaves 1 to score"),
    "weighting": ({"weighting": "best"}, "weighting=best: no such weighting; there are uniform, auto"),
    "features": ({"features": 3}, "features: expected a function of a batch, or a pair of arrays"),
    "rows of features": ({"features": (X[:5], X)}, r"features of real: expected \(60, d\), got \(5, 3\)"),
    "widths of features": ({"features": (X, X[:, :2])}, "features: 3 of real samples, 2 of generated"),
    "NaN in features": ({"features": (X, X * np.nan)}, "features of generated samples: some are NaN or infinite"),
    "function that raises": ({"features": raises}, "features: the function raised RuntimeError: no such layer"),
    "function of one number": (
        {"features": lambda batch: batch[:, 0]},
        r"gave \(36,\) of 36 samples|expected \(n, d\)",
    ),
    "option of the ratio": ({"folds": 1}, "folds=1 must be at least 2"),
    "classes of one side": ({"strata": (np.zeros(60), None)}, r"strata of generated: expected one class per row"),
    "classes": ({"strata": (np.zeros(3), np.zeros(60))}, r"strata of real: .*, \(60,\), got \(3,\)"),
    "classes that are NaN": ({"strata": (np.zeros(60), np.full(60, np.nan))}, "strata of generated: 60 are NaN"),
    "classes that are None": ({"strata": (np.array([None] * 60), np.zeros(60))}, "strata: the classes do not sort"),
    "text and numbers": ({"strata": (np.array(["a"] * 60), np.zeros(60))}, "one side are text, those of the other"),
    "other classes": ({"strata": (np.zeros(60), np.ones(60))}, "none of 60 rows is of a class that a real row has"),
    "groups": ({"groups": (np.zeros(3), None)}, r"groups of real: expected one per row, \(60,\), got \(3,\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments(case: str) -> None:
    options, message = BAD[case]
    with pytest.raises(InputError, match=message) as error:
        correct(X, X + 1, **{**QUICK, **options})
    assert "\n" not in str(error.value)


def two_classes(n: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples of a mixture, of which `share` lie around 3 and are named "far"."""
    random = np.random.default_rng(seed)
    far = random.random(n) < share
    return random.normal(size=(n, 2)) + 3 * far[:, None], np.where(far, "far", "near")


def test_classes_get_the_shares_of_the_real_rows_that_are_not_scored() -> None:
    (real, of_real), (generated, of_generated) = two_classes(2000, 0.5, 0), two_classes(2000, 0.2, 1)
    found = correct(real, generated, strata=(of_real, of_generated), **QUICK)
    assert found.verdict == "corrects"
    assert found.weighting.stratify
    assert "with class shares matched" in found.reason
    fitting, _ = split_real(torch.from_numpy(real), None, 0.4, 0)
    counted = (of_real[fitting.numpy()] == "far").sum()
    share = (counted + 0.5) / (len(fitting) + 1)
    assert found.weights[of_generated == "far"].sum() == pytest.approx(share, rel=1e-9)
    drawn = found.resample(4000)
    assert (drawn[:, 0] > 1.5).mean() == pytest.approx((real[:, 0] > 1.5).mean(), abs=0.03)


def test_a_class_that_no_generated_row_has_is_named() -> None:
    (real, of_real), (generated, of_generated) = two_classes(600, 0.5, 0), two_classes(600, 0.2, 1)
    numbers = [(labels == "far").astype(int) for labels in (of_real, of_generated)]
    numbers[0][:60] = 2
    found = correct(real, generated, strata=tuple(numbers), **QUICK)
    assert "without generated rows, and so without their share" in found.reason
    assert found.reason.endswith("class 2")


@pytest.mark.parametrize("num", [0, -1])
def test_a_number_of_samples_that_cannot_be_drawn(result: Correction, num: int) -> None:
    with pytest.raises(InputError, match="must be at least 1"):
        result.resample(num)


def test_masked_features_and_classes_are_refused() -> None:
    sides = gaussians(100, 100)
    with pytest.raises(InputError, match="features has masked elements"):
        correct(*sides, features=lambda x: np.ma.masked_greater(x, 1), **QUICK)
    classes = np.arange(100) % 3
    with pytest.raises(InputError, match="strata of generated has masked elements"):
        correct(*sides, strata=(classes, np.ma.masked_equal(classes, 1)), **QUICK)


def test_one_group_cannot_be_split() -> None:
    with pytest.raises(InputError, match="groups of real: all rows are of one group"):
        correct(*gaussians(100, 100), groups=(np.zeros(100), None), **QUICK)
