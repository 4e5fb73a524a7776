"""Estimators of density ratios, ours and other packages', behind one signature: two sets of rows → weights."""

import importlib.util
from collections.abc import Callable
from importlib import import_module

import numpy as np
import torch

from lfiw.ratio.estimator import RatioEstimator
from lfiw.weighting.weights import Weighting

# real (n, d), generated (m, d), seed → weights of the generated rows on any scale, by the estimator's name
Estimator = Callable[[np.ndarray, np.ndarray, int], dict[str, np.ndarray]]


def default(real: np.ndarray, generated: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Fits `RatioEstimator()`: logistic regressions and a small network, stacked, in five folds."""
    return both_weights("lfiw", RatioEstimator(seed=seed).fit(real, generated))


def boosting(real: np.ndarray, generated: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Fits `RatioEstimator` around scikit-learn's gradient boosting with early stopping, in five folds."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    classifier = HistGradientBoostingClassifier(early_stopping=True)
    return both_weights("lfiw boosting", RatioEstimator(classifier, seed=seed).fit(real, generated))


def both_weights(name: str, ratio: RatioEstimator) -> dict[str, np.ndarray]:
    """Returns the weights that the gate chose, with moments matched, and the Pareto-smoothed plain ones in any case."""
    plain = Weighting(smooth=True)(torch.from_numpy(ratio.log_ratio_)).numpy()
    return {name: ratio.weights_, f"{name}, plain ratio": plain}


def logistic_odds(real: np.ndarray, generated: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Weights by the odds of scikit-learn's logistic regression on standardised rows, cross-fitted in five folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, labels = np.concatenate([real, generated]), np.repeat([1, 0], [len(real), len(generated)])
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    probability = cross_val_predict(model, rows, labels, cv=folds, method="predict_proba")[len(real) :, 1]
    return {"logistic regression odds": probability / (1 - probability)}


def rulsif(real: np.ndarray, generated: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Fits densratio's RuLSIF (Yamada et al. 2013) with α = 0.1 and its own choice of kernels."""
    from densratio import densratio

    found = densratio(real, generated, alpha=0.1, verbose=False)
    return {"densratio RuLSIF": np.asarray(found.compute_density_ratio(generated)).clip(min=0)}


def reweighter(real: np.ndarray, generated: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Fits hep_ml's gradient-boosted reweighter (Rogozhnikov 2016) with its defaults, cross-fitted in five folds."""
    package = import_module("hep_ml.reweight")
    model = package.FoldingReweighter(package.GBReweighter(), n_folds=5, random_state=seed, verbose=False)
    return {"hep_ml reweighter": model.fit(generated, real).predict_weights(generated)}


def kliep(real: np.ndarray, generated: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Fits skada's KLIEP (Sugiyama et al. 2007); cross-validation chooses the width near the median-distance rule."""
    from sklearn.metrics import pairwise_distances

    median = np.median(pairwise_distances(real[:500]))
    widths = [factor / (2 * median**2) for factor in (0.25, 1.0, 4.0)]
    model = import_module("skada").KLIEPReweightAdapter(gamma=widths, random_state=seed)
    rows = np.concatenate([generated, real])
    domain = np.repeat([1, -2], [len(generated), len(real)])  # source, target
    weights = model.fit(rows, sample_domain=domain).compute_weights(rows, sample_domain=domain)
    return {"skada KLIEP": weights[: len(generated)]}


OURS: tuple[Estimator, ...] = (default, boosting)
PEERS: dict[str, Estimator] = {  # package that it needs → estimator
    "sklearn": logistic_odds,
    "densratio": rulsif,
    "hep_ml": reweighter,
    "skada": kliep,
}


def installed() -> list[Estimator]:
    """Returns our estimators, and those of installed packages."""
    return [*OURS, *(call for package, call in PEERS.items() if importlib.util.find_spec(package))]
