"""RatioEstimator: known ratios, rows that their classifier never saw, scikit-learn's conventions, any kind of input."""

import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from lfiw import InputError, RatioEstimator, Weighting
from lfiw.data import TensorTable
from lfiw.ratio.estimator_file import KEY
from lfiw.untrusted import network_file, read_weights

SHIFT, DIMENSION = 0.5, 8
QUICK = LogisticRegression()
FOLDS = 3


def gaussians(num_real: int, num_generated: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Data N(½, I) and model N(0, I) in 8 dimensions: log-ratio ½Σx − 1."""
    random = np.random.default_rng(seed)
    shapes = ((num_real, DIMENSION), (num_generated, DIMENSION))
    return random.normal(size=shapes[0]) + SHIFT, random.normal(size=shapes[1])


def exact(x: np.ndarray) -> np.ndarray:
    return SHIFT * x.sum(1) - DIMENSION * SHIFT**2 / 2


@pytest.fixture(scope="module")
def network() -> tuple[RatioEstimator, np.ndarray, np.ndarray]:
    real, generated = gaussians(5000, 5000)
    return RatioEstimator().fit(real, generated), real, generated


def test_the_default_network_learns_a_known_ratio(network: Any) -> None:
    ratio, real, generated = network
    assert np.corrcoef(ratio.log_ratio_, exact(generated))[0, 1] > 0.97
    assert np.corrcoef(ratio.log_ratio_real_, exact(real))[0, 1] > 0.97
    new = gaussians(1000, 1000, seed=1)[1]
    assert np.corrcoef(ratio.log_ratio(new), exact(new))[0, 1] > 0.98  # the mean over five classifiers
    assert ratio.verdict_ == "corrects"
    assert ratio.log_ratio_.dtype == ratio.weights_.dtype == np.float64
    # KL(p‖q) = ‖½‖²/2 = 1 nat, all of which the exact ratio gains
    assert ratio.scores_["kl_gain"] == pytest.approx(1, abs=4 * ratio.scores_["kl_gain_error"])
    assert ratio.ess_ == pytest.approx(1 / np.square(ratio.weights_).sum())


def test_the_default_stacks_what_is_quick() -> None:
    random = np.random.default_rng(0)
    for width, count in ((3, 4), (300, 1)):
        real, generated = (random.normal(size=(60, width)) for _ in range(2))
        ratio = RatioEstimator(folds=2, max_epochs=1).fit(real, generated)
        classifier = ratio.fitted_.classifiers[0][0]
        assert len(getattr(classifier, "parts", [classifier])) == count


def test_weights_match_moments_only_where_the_gate_corrects() -> None:
    real, generated = gaussians(1000, 1000)
    matched, plain = (RatioEstimator("linear", match_moments=m, seed=1).fit(real, generated) for m in (True, False))
    assert matched.verdict_ == "corrects"
    expected = plain.weighting_(torch.from_numpy(plain.log_ratio_)).numpy()
    np.testing.assert_allclose(plain.weights_, expected)
    gaps = [np.abs(r.weights_ @ generated - real.mean(0)).max() for r in (matched, plain)]
    assert gaps[0] < gaps[1] / 2
    same = RatioEstimator("linear", seed=1).fit(generated[:500], generated[500:])
    assert same.verdict_ != "corrects"
    np.testing.assert_allclose(same.weights_, 1 / 500)


def test_weighted_means_are_those_of_the_data() -> None:
    errors = []
    for seed in range(12):
        real, generated = gaussians(5000, 5000, seed)
        ratio = RatioEstimator(QUICK, seed=seed).fit(real, generated)
        errors.append(ratio.weights_ @ generated.mean(1) - SHIFT)
    assert abs(np.mean(errors)) < 3 * np.std(errors, ddof=1) / math.sqrt(len(errors))
    assert np.std(errors) < SHIFT / 5  # or the first would say nothing


@pytest.mark.parametrize("name", ["natural", "weighted"])
def test_prior_odds_are_taken_out(name: str) -> None:
    real, generated = gaussians(1000, 4000)
    weights = (np.full(1000, 3.0), np.full(4000, 0.5)) if name == "weighted" else None
    ratio = RatioEstimator(QUICK, folds=FOLDS).fit(real, generated, sample_weight=weights)
    # γ = 4 left in would be an error of log 4 = 1.39
    assert (ratio.log_ratio_ - exact(generated)).mean() == pytest.approx(0, abs=0.2)


class Spy(ClassifierMixin, BaseEstimator):
    """Notes the numbers of the rows (their first feature) that each clone is fitted on and asked about."""

    seen: ClassVar[list[tuple[set[float], set[float]]]] = []

    def fit(self, x: np.ndarray, y: np.ndarray) -> "Spy":
        self.classes_ = np.unique(y)
        self.rows_ = set(x[:, 0])
        self.mean_ = y.mean()
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        Spy.seen.append((self.rows_, set(x[:, 0])))
        return np.full((len(x), 2), 0.5)


def numbered(num_real: int, num_generated: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose first feature is their number, over both sides."""
    rows = np.random.default_rng(0).normal(size=(num_real + num_generated, 2))
    rows[:, 0] = np.arange(len(rows))
    return rows[:num_real], rows[num_real:]


def test_no_classifier_is_asked_about_a_row_that_it_saw() -> None:
    Spy.seen = []
    real, generated = numbered(200, 150)
    RatioEstimator(Spy(), folds=FOLDS, ensemble=2).fit(real, generated)
    assert len(Spy.seen) == 2 * FOLDS * 2  # sides, folds, members
    assert all(not fitted & asked for fitted, asked in Spy.seen)
    assert set().union(*(asked for _, asked in Spy.seen)) == set(range(350))


def test_a_row_that_is_memorised_gains_nothing_by_it() -> None:
    """Sides of one distribution and a nearest neighbour: its own label would be at hand for every row that it saw."""
    random = np.random.default_rng(0)
    real, generated = random.normal(size=(600, 2)), random.normal(size=(600, 2))
    ratio = RatioEstimator(KNeighborsClassifier(1), folds=FOLDS, calibration="none").fit(real, generated)
    share = np.concatenate([ratio.log_ratio_real_ > 0, ratio.log_ratio_ < 0]).mean()
    assert share == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(1200))  # four standard errors


def test_groups_stay_together() -> None:
    Spy.seen = []
    real, generated = numbered(240, 240)
    groups = [np.repeat([f"group {i}" for i in range(40)], 6), np.repeat(np.arange(40), 6)]
    random = np.random.default_rng(1)
    groups = [random.permutation(g) for g in groups]
    RatioEstimator(Spy(), folds=FOLDS).fit(real, generated, groups=tuple(groups))
    group_of = {float(row): (side, g) for side, named in enumerate(groups) for row, g in enumerate(named, 240 * side)}
    for fitted, asked in Spy.seen:
        assert not {group_of[row] for row in fitted} & {group_of[row] for row in asked}


def test_a_weight_of_three_is_three_copies() -> None:
    real, generated = gaussians(300, 300)
    random = np.random.default_rng(2)
    counts = [random.integers(1, 4, 300) for _ in range(2)]
    numbers = [np.repeat(np.arange(300), count) for count in counts]
    options: dict[str, Any] = {"classifier": LogisticRegression(tol=1e-10, max_iter=1000), "folds": FOLDS}
    copied = RatioEstimator(**options).fit(real[numbers[0]], generated[numbers[1]], groups=tuple(numbers))
    weighted = RatioEstimator(**options).fit(real, generated, sample_weight=tuple(counts))
    np.testing.assert_allclose(weighted.log_ratio_[numbers[1]], copied.log_ratio_, atol=1e-6)
    np.testing.assert_allclose(weighted.log_ratio_real_[numbers[0]], copied.log_ratio_real_, atol=1e-6)
    # the copies of a row have its weight between them
    plain = Weighting()(torch.from_numpy(weighted.log_ratio_)).numpy() * counts[1]
    np.testing.assert_allclose(
        np.bincount(numbers[1], Weighting()(torch.from_numpy(copied.log_ratio_)).numpy()),
        plain / plain.sum(),
        atol=1e-6,
    )


def test_weights_steer_a_network() -> None:
    """Two clusters, of which weights take one out on the generated side: the other one's ratio halves."""
    random = np.random.default_rng(0)
    place = np.repeat([-2.0, 2.0], 400)
    real, generated = (random.normal(size=(800, 1)) * 0.3 + place[:, None] for _ in range(2))
    weights = np.where(place < 0, 1e-3, 1.0)
    ratio = RatioEstimator(folds=2, max_epochs=15).fit(real, generated, sample_weight=(None, weights))
    assert np.median(ratio.log_ratio_[place > 0]) == pytest.approx(-math.log(2), abs=0.25)
    assert np.median(ratio.log_ratio_[place < 0]) > 1.5
    # weights_ hold the given ones: half of the data lies in each cluster
    weighted = Weighting()(torch.from_numpy(ratio.log_ratio_)).numpy() * weights
    assert ratio.weights_.sum() == pytest.approx(1)
    assert 0 < weighted[place < 0].sum() < weighted.sum()


@pytest.mark.parametrize("calibration", ["none", "temperature", "beta", "isotonic"])
def test_calibration(calibration: str) -> None:
    real, generated = gaussians(1500, 1500)
    ratio = RatioEstimator(
        RandomForestClassifier(20, min_samples_leaf=3), folds=2, calibration=calibration, ensemble=2
    ).fit(real, generated)
    assert np.isfinite(ratio.log_ratio_).all()
    assert ratio.scores_["log_loss"] < (0.65 if calibration != "none" else 1.0)


def test_pipelines_and_boosting_take_weights() -> None:
    real, generated = gaussians(200, 200)
    for classifier in (
        make_pipeline(StandardScaler(), LogisticRegression()),
        HistGradientBoostingClassifier(max_iter=5),
    ):
        ratio = RatioEstimator(classifier, folds=2).fit(real, generated, sample_weight=(np.ones(200), None))
        assert np.isfinite(ratio.log_ratio_).all()
        assert not hasattr(classifier, "classes_")  # what was given stays as it was


# ------------------------------------------------------------------ scikit-learn's conventions


def test_parameters() -> None:
    ratio = RatioEstimator(LogisticRegression(C=2.0), folds=3, lr=1e-2)
    assert ratio.get_params()["folds"] == 3
    assert ratio.get_params()["classifier__C"] == 2.0
    ratio.set_params(folds=4, classifier__C=5.0)
    copy = clone(ratio)
    assert copy is not ratio
    assert copy.classifier is not ratio.classifier
    assert (copy.folds, copy.lr, copy.classifier.C) == (4, 1e-2, 5.0)
    assert clone(RatioEstimator("mlp")).get_params() == RatioEstimator("mlp").get_params()
    with pytest.raises(ValueError, match="Invalid parameter 'fold'"):
        ratio.set_params(fold=3)


def test_not_fitted() -> None:
    for ask in (lambda r: r.log_ratio(np.zeros((2, 2))), lambda r: r.save("x")):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            ask(RatioEstimator())


def test_fit_leaves_its_surroundings_as_they_were(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    real, generated = gaussians(200, 200)
    kept = real.copy(), generated.copy()
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002, the global state is what is watched
    threads = torch.get_num_threads()
    ratio = RatioEstimator("mlp", folds=2, max_epochs=2)
    before = ratio.get_params()
    assert ratio.fit(real, generated) is ratio
    random = torch.rand(3)
    torch.manual_seed(3)
    assert torch.equal(random, torch.rand(3))
    assert torch.get_num_threads() == threads
    assert ratio.get_params() == before
    assert np.array_equal(real, kept[0])
    assert np.array_equal(generated, kept[1])
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_the_seed_alone_decides() -> None:
    real, generated = gaussians(200, 200)
    options: dict[str, Any] = {"folds": 2, "max_epochs": 2}
    first, again, other = (RatioEstimator("mlp", seed=s, **options).fit(real, generated) for s in (1, 1, 2))
    assert np.array_equal(first.log_ratio_, again.log_ratio_)
    assert not np.array_equal(first.log_ratio_, other.log_ratio_)
    forests = [RatioEstimator(RandomForestClassifier(5), folds=2, seed=1).fit(real, generated) for _ in range(2)]
    assert np.array_equal(forests[0].log_ratio_, forests[1].log_ratio_)


X = np.random.default_rng(0).normal(size=(60, 3))
BAD: dict[str, tuple[Any, Any, str]] = {
    "one dimension": (X[:, 0], X, r"real has shape \(60,\), expected \(n, d\): for one feature, give real\[:, None\]"),
    "three dimensions": (X, X[:, :, None], r"generated has shape \(60, 3, 1\), expected vectors \(n, d\) or images"),
    "channels last": (np.zeros((60, 8, 8, 3)), np.zeros((60, 8, 8, 3)), r"channels last: give real\.transpose\(0, 3"),
    "empty": (X[:0], X, "real is empty"),
    "no features": (X[:, :0], X[:, :0], "no features"),
    "one row": (X[:1], X, "real has 1 row: folds=5 and validation=0.2 need at least 25"),
    "few rows": (X, X[:20], "generated has 20 rows"),
    "NaN": (np.where(np.arange(60)[:, None] == 7, np.nan, X), X, "real has NaN or infinite values, the first in row 7"),
    "infinite": (X, np.where(X[2] == X, np.inf, X), "generated has NaN or infinite values, the first in row 2"),
    "sparse": (scipy.sparse.csr_array(X), X, r"real is sparse, expected a dense array: give real\.toarray\(\)"),
    "sparse tensor": (torch.from_numpy(X).to_sparse(), X, r"real is sparse.*to_dense"),
    "other features": (X, X[:, :2], r"real has samples of shape \(3,\), generated of shape \(2,\)"),
    "complex": (X.astype(complex), X, "real holds complex numbers"),
    "complex tensor": (torch.from_numpy(X).to(torch.complex64), X, "real holds complex numbers"),
    "text": (np.full((60, 3), "a"), X, "real holds text"),
    "ragged": ([[1.0], [1.0, 2.0]], X, "real cannot be read as an array"),
    "nothing": (None, X, "real"),
    "frame and array": (pd.DataFrame(X), X, "one side is a data frame and the other is not"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_samples(case: str) -> None:
    real, generated, message = BAD[case]
    with pytest.raises(InputError, match=message) as error:
        RatioEstimator(QUICK).fit(real, generated)
    assert "\n" not in str(error.value)


BAD_OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "folds": ({"folds": 1}, "folds=1 must be at least 2"),
    "ensemble": ({"ensemble": 0}, "ensemble=0 must be at least 1"),
    "calibration": ({"calibration": "platt"}, "calibration=platt: expected one of none, temperature"),
    "validation": ({"validation": 1.0}, r"validation=1\.0 must lie in \(0, 1\)"),
    "name": ({"classifier": "transformer"}, "classifier=transformer: no such network; networks: mlp, conv4, resnet"),
    "option": ({"classifier": {"name": "mlp", "widht": 3}}, "network mlp: .*'widht'"),
    "class": ({"classifier": LogisticRegression}, "as an object"),
    "no probabilities": ({"classifier": LinearSVC()}, "expected a network's name .* predict_proba"),
    "number": ({"classifier": 3}, "classifier=int: expected"),
    "priors": ({"classifier": LogisticRegression(class_weight="balanced")}, "changes the prior odds: leave that out"),
    "inner priors": (
        {"classifier": make_pipeline(StandardScaler(), LogisticRegression(class_weight={0: 2}))},
        "changes the prior odds",
    ),
    "loss": ({"classifier": "mlp", "loss": "hinge"}, "loss=hinge: expected one of logistic"),
    "convolution of vectors": ({"classifier": "resnet"}, "model=resnet needs images"),
    "two outputs": ({"classifier": lambda shape: torch.nn.Linear(3, 2)}, r"the network gives \(2, 2\) for two samples"),
    "no module": ({"classifier": lambda shape: 3}, "gave a int, expected a torch.nn.Module"),
    "other inputs": ({"classifier": torch.nn.Linear(5, 1)}, r"does not take samples of shape \(3,\): mat1"),
    "its own complaint": ({"classifier": LogisticRegression(C=-1.0)}, "LogisticRegression.fit: .*'C'"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options(case: str) -> None:
    options, message = BAD_OPTIONS[case]
    with pytest.raises(InputError, match=message) as error:
        RatioEstimator(**{"classifier": QUICK, **options}).fit(X, X + 1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": (np.zeros(3), None)}, r"groups of real: expected one per row, \(60,\), got \(3,\)"),
        ({"groups": (np.repeat(np.arange(4), 15), None)}, "real has 4 groups: folds=5 needs at least 13"),
        ({"sample_weight": (None, np.ones((60, 1)))}, r"sample_weight of generated: expected one per row, \(60,\)"),
        ({"sample_weight": (-np.ones(60), None)}, "sample_weight of real: expected finite numbers of at least 0"),
        ({"sample_weight": (np.zeros(60), None)}, "some of them above"),
    ],
)
def test_bad_groups_and_weights(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RatioEstimator(QUICK).fit(X, X + 1, **options)


def test_a_classifier_without_weights() -> None:
    with pytest.raises(InputError, match=r"KNeighborsClassifier.fit takes no sample_weight"):
        RatioEstimator(KNeighborsClassifier()).fit(X, X + 1, sample_weight=(np.ones(60), None))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((2, 4)), r"samples has shape \(2, 4\), expected \(n, 3\) \(3 features\)"),
        (np.zeros(3), r"samples has shape \(3,\)"),
        (np.zeros((0, 3)), "samples is empty"),
        (np.full((2, 3), np.nan), "samples has NaN"),
        (pd.DataFrame(np.zeros((2, 3))), "samples is a data frame, expected an array"),
    ],
)
def test_bad_new_samples(samples: Any, message: str) -> None:
    ratio = RatioEstimator(QUICK, folds=2).fit(X, X + 1)
    assert ratio.n_features_in_ == 3
    with pytest.raises(InputError, match=message):
        ratio.log_ratio(samples)


# ------------------------------------------------------------------ any kind of input


@pytest.mark.parametrize("kind", ["tensor", "list", "table", "frame", "whole numbers", "big-endian", "bool"])
def test_one_ratio_whatever_holds_the_numbers(kind: str) -> None:
    real, generated = (x.round().clip(-2, 2) for x in gaussians(100, 100))
    if kind == "bool":
        real, generated = (x > 0 for x in (real, generated))
    forms: dict[str, Any] = {
        "tensor": lambda x: torch.from_numpy(x),
        "list": lambda x: x.tolist(),
        "table": lambda x: TensorTable({"vector": torch.from_numpy(x)}),
        "frame": lambda x: pd.DataFrame(x, columns=[f"x{i}" for i in range(DIMENSION)]),
        "whole numbers": lambda x: x.astype(np.int8),
        "big-endian": lambda x: x.astype(">f8"),
        "bool": lambda x: x,
    }
    plain = RatioEstimator(QUICK, folds=2).fit(real.astype(float), generated.astype(float))
    form = forms[kind]
    other = RatioEstimator(QUICK, folds=2).fit(form(real), form(generated))
    assert np.array_equal(plain.log_ratio_, other.log_ratio_)
    assert np.array_equal(plain.log_ratio(generated[:5].astype(float)), other.log_ratio(form(generated[:5])))


def frames(rows: int = 120) -> tuple[pd.DataFrame, pd.DataFrame]:
    random = np.random.default_rng(0)
    made = [
        pd.DataFrame(
            {
                "age": random.normal(shift, 1, rows),
                "job": random.choice(["a", "b", "c"][: 3 - shift], rows),
                "size": pd.Categorical(random.choice([1, 10], rows)),
                "count": pd.array(random.integers(0, 5, rows), dtype="Int64"),
                "member": random.random(rows) < 0.5,
            }
        )
        for shift in (0, 1)
    ]
    return made[0], made[1]


def test_categories_are_encoded_one_hot_over_both_sides() -> None:
    real, generated = frames()
    # columns in another order on one side
    ratio = RatioEstimator(QUICK, folds=2).fit(real, generated[["size", "member", "job", "age", "count"]])
    encoder = OneHotEncoder(sparse_output=False).fit(pd.concat([real, generated])[["job", "size"]].astype(str))

    def encoded(frame: pd.DataFrame) -> np.ndarray:
        categories = encoder.transform(frame[["job", "size"]].astype(str))
        rest = [frame["count"].to_numpy(float)[:, None], frame["member"].to_numpy(float)[:, None]]
        return np.hstack([frame[["age"]].to_numpy(), categories, *rest])

    plain = RatioEstimator(QUICK, folds=2).fit(encoded(real), encoded(generated))
    np.testing.assert_allclose(ratio.log_ratio_, plain.log_ratio_, atol=1e-12)
    np.testing.assert_allclose(ratio.log_ratio(generated), plain.log_ratio(encoded(generated)), atol=1e-12)
    assert list(ratio.feature_names_in_) == ["age", "job", "size", "count", "member"]


def test_polars() -> None:
    pl = pytest.importorskip("polars")
    real, generated = (frame.astype({"size": str, "count": int}) for frame in frames())
    as_pandas = RatioEstimator(QUICK, folds=2).fit(real, generated)
    sides = [pl.DataFrame(frame.to_dict("list")) for frame in (real, generated)]
    sides = [frame.with_columns(pl.col("job").cast(pl.Categorical)) for frame in sides]
    assert np.array_equal(as_pandas.log_ratio_, RatioEstimator(QUICK, folds=2).fit(*sides).log_ratio_)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="age"), "have different columns: age on one side only"),
        (lambda f: f.assign(age=f["age"].where(f["age"] > 0)), "column 'age' has missing values"),
        (lambda f: f.assign(job=f["job"].where(f["age"] > 0)), "column 'job' has missing values"),
        (lambda f: f.assign(count=f["count"].where(f["age"] > 0)), "column 'count' has missing values"),
        (lambda f: f.assign(job=1.0), "column 'job' is categorical on one side and numeric on the other"),
        (lambda f: f.assign(age=np.inf), "generated has NaN or infinite values"),
        (lambda f: f.assign(age=pd.Timestamp("2020-01-01")), "column 'age' holds dates"),
        (lambda f: f.iloc[:0], "generated is empty"),
    ],
)
def test_bad_frames(change: Any, message: str) -> None:
    real, generated = frames()
    with pytest.raises(InputError, match=message):
        RatioEstimator(QUICK, folds=2).fit(real, change(generated))


def test_frames_with_too_many_categories_or_unknown_ones() -> None:
    many = pd.DataFrame({"id": [f"row {i}" for i in range(1001)]})
    with pytest.raises(InputError, match="column 'id' has 1,001 categories, at most 1,000 are encoded: leave it out"):
        RatioEstimator(QUICK).fit(many, many)
    real, generated = frames()
    ratio = RatioEstimator(QUICK, folds=2).fit(real, generated)
    with pytest.raises(InputError, match="column 'job' has the category 'z', which neither side had in fit"):
        ratio.log_ratio(real.assign(job="z"))
    with pytest.raises(InputError, match="samples lacks the column 'age'"):
        ratio.log_ratio(real.drop(columns="age"))
    with pytest.raises(InputError, match="samples is no data frame"):
        ratio.log_ratio(np.zeros((3, 8)))


def images(size: int, rows: int = 60) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return tuple(random.integers(0, top, (rows, 1, size, size), dtype=np.uint8) for top in (256, 150))  # type: ignore


@pytest.mark.parametrize(("size", "kind"), [(8, "MLP"), (16, "ResNet")])
def test_images_choose_their_network_by_size(size: int, kind: str) -> None:
    real, generated = images(size)
    ratio = RatioEstimator(folds=2, max_epochs=2).fit(real, generated)
    assert type(ratio.fitted_.classifiers[0][0].net).__name__ == kind
    assert ratio.log_ratio(torch.from_numpy(generated[:3])).shape == (3,)
    # darker images are the generated ones
    assert ratio.log_ratio(real).mean() > ratio.log_ratio(generated).mean()


def test_images_of_a_classifier_are_flattened() -> None:
    real, generated = images(8)
    ratio = RatioEstimator(QUICK, folds=2).fit(real, generated)
    flat = RatioEstimator(QUICK, folds=2).fit(*(x.reshape(60, -1) for x in (real, generated)))
    assert np.array_equal(ratio.log_ratio_, flat.log_ratio_)
    with pytest.raises(InputError, match="a classifier would tell them apart by that alone"):
        RatioEstimator(QUICK, folds=2).fit(real, generated / 255)


def test_a_network_of_ones_own() -> None:
    real, generated = gaussians(400, 400)
    net = torch.nn.Linear(DIMENSION, 1)
    start = net.weight.detach().clone()
    for own in (net, lambda shape: torch.nn.Sequential(torch.nn.Linear(*shape, 1), torch.nn.Flatten(0))):
        ratio = RatioEstimator(own, folds=2, max_epochs=20, lr=0.03).fit(real, generated)
        assert np.corrcoef(ratio.log_ratio_, exact(generated))[0, 1] > 0.9
    assert torch.equal(net.weight, start)


# ------------------------------------------------------------------ on disk


def test_a_saved_estimator_is_the_same(network: Any, tmp_path: Path) -> None:
    ratio, _, generated = network
    ratio.save(tmp_path / "ratio.safetensors")
    again = RatioEstimator.load(tmp_path / "ratio.safetensors")
    assert np.array_equal(again.log_ratio(generated[:100]), ratio.log_ratio(generated[:100]))
    for name in ("log_ratio_", "log_ratio_real_", "weights_"):
        assert np.array_equal(getattr(again, name), getattr(ratio, name))
    assert again.get_params() == ratio.get_params()
    for name in ("weighting_", "verdict_", "reason_", "scores_", "ess_", "pareto_k_", "n_features_in_"):
        assert getattr(again, name) == getattr(ratio, name)
    for kept, read in zip(ratio.validation_.calibrated, again.validation_.calibrated, strict=True):
        assert torch.equal(kept, read)


def test_a_saved_network_of_ones_own_needs_it_again(tmp_path: Path) -> None:
    ratio = RatioEstimator(lambda shape: torch.nn.Linear(*shape, 1), folds=2, max_epochs=1).fit(X, X + 1)
    ratio.save(tmp_path / "ratio")
    with pytest.raises(InputError, match=r"its network was one of your own: give it as load\(path, classifier=…\)"):
        RatioEstimator.load(tmp_path / "ratio")
    again = RatioEstimator.load(tmp_path / "ratio", classifier=lambda shape: torch.nn.Linear(*shape, 1))
    assert np.array_equal(again.log_ratio(X), ratio.log_ratio(X))


def test_a_saved_estimator_of_frames(tmp_path: Path) -> None:
    real, generated = frames()
    ratio = RatioEstimator("mlp", folds=2, max_epochs=1, loss="kliep", calibration="isotonic").fit(real, generated)
    ratio.save(tmp_path / "ratio")
    again = RatioEstimator.load(tmp_path / "ratio")
    assert np.array_equal(again.log_ratio(generated), ratio.log_ratio(generated))


def test_a_classifier_of_another_library_is_not_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ratio = RatioEstimator(QUICK, folds=2).fit(X, X + 1)
    monkeypatch.setitem(__import__("sys").modules, "skops.io", None)
    with pytest.raises(InputError, match=r"saving a LogisticRegression needs skops, .*: pip install skops"):
        ratio.save(tmp_path / "ratio")
    assert list(tmp_path.iterdir()) == []


def test_skops(tmp_path: Path) -> None:
    pytest.importorskip("skops")
    ratio = RatioEstimator(make_pipeline(StandardScaler(), LogisticRegression()), folds=2).fit(X, X + 1)
    ratio.save(tmp_path / "ratio")
    assert np.array_equal(RatioEstimator.load(tmp_path / "ratio").log_ratio(X), ratio.log_ratio(X))
    spy = RatioEstimator(Spy(), folds=2).fit(X, X + 1)
    spy.save(tmp_path / "spy")
    with pytest.raises(InputError, match=r"types that skops does not trust: .*Spy; if you do, give load"):
        RatioEstimator.load(tmp_path / "spy")


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\x80\x04K\x03."])
def test_files_of_something_else(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError, match="x does not hold a") as error:
        RatioEstimator.load(tmp_path / "x")
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"nothing does not exist: give a file that RatioEstimator\.save wrote"):
        RatioEstimator.load(tmp_path / "nothing")


@pytest.mark.parametrize("damage", [{"parameters": {"fold": 2}}, {"weighting": {"flatten": 1.0, "power": 2}}])
def test_files_with_words_that_the_estimator_does_not_have(tmp_path: Path, damage: dict[str, Any]) -> None:
    RatioEstimator("linear", folds=2).fit(X, X + 1).save(tmp_path / "ratio")
    about, tensors = read_weights(tmp_path / "ratio", KEY, "a ratio estimator")
    (tmp_path / "ratio").write_bytes(network_file(KEY, {**about, **damage}, tensors))
    with pytest.raises(InputError, match=r"ratio does not hold a whole ratio estimator: .*(fold|power)"):
        RatioEstimator.load(tmp_path / "ratio")


@pytest.mark.parametrize("classifier", [QUICK, None, "quadratic"])
@pytest.mark.parametrize(("unit", "offset"), [(1e-10, 0.0), (1e9, 0.0), (1.0, 1e11)])
def test_weights_do_not_depend_on_units(classifier: Any, unit: float, offset: float) -> None:
    real, generated = gaussians(300, 300)
    # scikit-learn's classifiers take values as they are: standardise them, as its users do
    own = make_pipeline(StandardScaler(), QUICK) if classifier is QUICK else classifier
    options: dict[str, Any] = {"classifier": own, "folds": FOLDS, "match_moments": True}
    goal = RatioEstimator(**options).fit(real, generated)
    moved = RatioEstimator(**options).fit(unit * (real + offset), unit * (generated + offset))
    assert moved.verdict_ == goal.verdict_ == "corrects"
    np.testing.assert_allclose(moved.weights_, goal.weights_, rtol=0.05)
    assert goal.weights_.max() > 3 * goal.weights_.min()


@pytest.mark.parametrize(
    ("unit", "kind", "message"),
    [
        (1e300, "f8", "the squares of its values overflow float64; divide them by a constant"),
        (1e-300, "f8", r"varies by \S+e-300 alone, too little for torch.float64; multiply it by a constant"),
        (1e-42, "f4", r"varies by \S+e-42 alone, too little for torch.float32; multiply it by a constant"),
    ],
)
def test_values_that_their_precision_cannot_square_are_refused(unit: float, kind: str, message: str) -> None:
    real, generated = ((unit * side).astype(kind) for side in gaussians(100, 100))
    with pytest.raises(InputError, match=message):
        RatioEstimator(folds=FOLDS).fit(real, generated)


def test_masked_elements_are_not_uncovered() -> None:
    real, generated = gaussians(100, 100)
    hidden = np.ma.masked_greater(real, 1.5)
    options: list[tuple[str, dict[str, Any]]] = [
        ("real", {"real": hidden}),
        ("groups of real", {"groups": (np.ma.masked_equal(np.arange(100) % 20, 3), None)}),
        ("sample_weight of generated", {"sample_weight": (None, np.ma.masked_equal(np.ones(100), 1))}),
    ]
    for name, given in options:
        with pytest.raises(InputError, match=f"{name} has masked elements"):
            RatioEstimator(classifier=QUICK, folds=FOLDS).fit(
                **{"real": real, "generated": generated, **given}  # type: ignore[arg-type]
            )
    open_mask = RatioEstimator(classifier=QUICK, folds=FOLDS).fit(np.ma.masked_greater(real, 1e9), generated)
    plain = RatioEstimator(classifier=QUICK, folds=FOLDS).fit(real, generated)
    np.testing.assert_array_equal(open_mask.log_ratio_, plain.log_ratio_)


@pytest.mark.parametrize("seed", [-1, 1.5, 2**70, "a", None])
def test_what_is_no_seed_is_told(seed: Any) -> None:
    with pytest.raises(InputError, match="must be a whole number from 0 to 4294967295"):
        RatioEstimator(classifier=QUICK, folds=FOLDS).set_params(seed=seed).fit(*gaussians(100, 100))


def test_a_seed_of_numpy_is_the_same_seed() -> None:
    sides = gaussians(100, 100)
    found = [RatioEstimator(folds=FOLDS).set_params(seed=seed).fit(*sides).log_ratio_ for seed in (3, np.int64(3))]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("group", "message"), [(np.nan, "5 are NaN; give these rows a group too"), (None, "they do not sort")]
)
def test_rows_without_a_group_are_told(group: Any, message: str) -> None:
    groups = [group] * 5 + [float(i % 20) for i in range(95)]
    with pytest.raises(InputError, match=f"groups of real: {message}"):
        RatioEstimator(classifier=QUICK, folds=FOLDS).fit(*gaussians(100, 100), groups=(groups, None))


@pytest.mark.parametrize("kind", ["i8", "u8"])
def test_whole_numbers_that_float64_rounds_away_are_refused(kind: str) -> None:
    """Identifiers, or nanoseconds since 1970 within a microsecond: differences of which float64 keeps nothing."""
    random = np.random.default_rng(0)
    real, generated = (2**60 + random.integers(0, most, (100, 2)).astype(kind) for most in (500, 400))
    options: dict[str, Any] = {"classifier": QUICK, "folds": FOLDS}
    with pytest.raises(InputError, match=r"real: number 0 of the vectors .* subtract \d+ from it on both sides"):
        RatioEstimator(**options).fit(real, generated)
    frames = [pd.DataFrame({"a": random.random(100), "id": side[:, 0]}) for side in (real, generated)]
    with pytest.raises(InputError, match=r"real: column 'id': number 0 .* subtract"):
        RatioEstimator(**options).fit(*frames)
    RatioEstimator(**options).fit(real - 2**60, generated - 2**60)
    RatioEstimator(**options).fit(2**20 * (real - 2**60), 2**20 * (generated - 2**60))  # exact, whatever their size


RANGES: dict[str, Any] = {
    "bytes": lambda x: x,
    "0 … 1": lambda x: (x / 255).astype("f4"),
    "-1 … 1": lambda x: x / 127.5 - 1,
    "0 … 255": lambda x: x.astype("f4"),
}


def pictures() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    sides = [random.integers(0, most, (60, 1, 6, 6)).astype("u1") for most in (256, 220)]
    for side in sides:
        side[0] = 0  # images may be dark
        side[1, 0, 0, :2] = 0, 219
    return sides


@pytest.mark.parametrize("first", RANGES)
@pytest.mark.parametrize("second", RANGES)
def test_sides_in_two_ranges_are_told(first: str, second: str) -> None:
    """A generator that ends in tanh beside images in 0 … 1: the range alone would tell them apart."""
    real, generated = pictures()
    ratio = RatioEstimator(classifier="linear", folds=2)
    if first == second:
        ratio.fit(RANGES[first](real), RANGES[second](generated))
        return
    with pytest.raises(InputError, match="bring both to one range"):
        ratio.fit(RANGES[first](real), RANGES[second](generated))


@pytest.mark.parametrize("fitted", RANGES)
def test_later_samples_in_another_range_are_told(fitted: str, tmp_path: Path) -> None:
    real, generated = (RANGES[fitted](side) for side in pictures())
    RatioEstimator(classifier="linear", folds=2).fit(real, generated).save(tmp_path / "ratio")
    ratio = RatioEstimator.load(tmp_path / "ratio")
    assert ratio.encoding_.pixels is not None
    new = pictures()[1]
    wrong = [name for name in RANGES if name != fitted and not (name == "0 … 1" and fitted in ("-1 … 1", "0 … 255"))]
    for name in wrong:
        with pytest.raises(InputError, match=r"samples has .* as in fit"):
            ratio.log_ratio(RANGES[name](new))
    dark = RANGES[fitted](new[:1])
    assert np.isfinite(ratio.log_ratio(dark)).all()


def test_measurements_have_ranges_of_their_own() -> None:
    """Energies in a calorimeter, latents of a diffusion model: no range of pictures, and none is asked for."""
    random = np.random.default_rng(0)
    for real, generated in (
        (random.exponential(3, (60, 1, 4, 4)), random.exponential(4, (60, 1, 4, 4))),
        (random.normal(size=(60, 4, 4, 4)), 1.2 * random.normal(size=(60, 4, 4, 4))),
    ):
        ratio = RatioEstimator(classifier="linear", folds=2).fit(real, generated)
        assert ratio.encoding_.pixels is None
        assert np.isfinite(ratio.log_ratio(5 * generated)).all()
