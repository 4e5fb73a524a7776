"""Synthetic patients from a Gaussian copula, weighted by gradient boosting: marginals, correlations, a model trained.

python docs/examples/tables.py --seeds 10
"""

import numpy as np
import pandas as pd
from repetitions import Found, repeat
from scipy.stats import norm, wasserstein_distance
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lfiw import RatioEstimator

LABEL = "target"


def gaussian_copula(real: pd.DataFrame, rows: int, random: np.random.Generator) -> pd.DataFrame:
    """Rows with each column's own distribution, joined as normal scores of the real rows are."""
    scores = norm.ppf((real.rank(method="average") - 0.5) / len(real))
    drawn = norm.cdf(random.multivariate_normal(np.zeros(real.shape[1]), np.corrcoef(scores.T), rows))
    columns = {
        c: np.quantile(real[c], u, method="inverted_cdf" if c == LABEL else "linear")
        for c, u in zip(real, drawn.T, strict=True)
    }
    return pd.DataFrame(columns)


def once(seed: int) -> Found:
    whole = load_breast_cancer(as_frame=True).frame.astype(float)
    real, test = train_test_split(whole, test_size=0.4, random_state=seed, stratify=whole[LABEL])
    synthetic = gaussian_copula(real, 2000, np.random.default_rng(seed))
    boosting = HistGradientBoostingClassifier(max_iter=50, learning_rate=0.05)
    weights = {
        "synthetic": np.full(len(synthetic), 1 / len(synthetic)),
        "synthetic, weighted by boosting": RatioEstimator(boosting, seed=seed).fit(real, synthetic).weights_,
        "synthetic, weighted by default": RatioEstimator(seed=seed).fit(real, synthetic).weights_,
    }
    found = {name: scores(synthetic, w, test) for name, w in weights.items()}
    return {**found, "real": scores(real, np.full(len(real), 1 / len(real)), test)}


def scores(rows: pd.DataFrame, w: np.ndarray, test: pd.DataFrame) -> dict[str, float]:
    """Of rows against test rows that neither the copula nor the ratio saw."""
    spread = test.std()
    marginals = [wasserstein_distance(rows[c], test[c], w) / spread[c] for c in test]
    correlations = [np.cov(x.T, aweights=a) for x, a in ((rows.to_numpy(), w), (test.to_numpy(), None))]
    correlations = [c / np.sqrt(np.outer(c.diagonal(), c.diagonal())) for c in correlations]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(rows.drop(columns=LABEL), rows[LABEL], logisticregression__sample_weight=w * len(w))
    p = model.predict_proba(test.drop(columns=LABEL))[:, 1]
    return {
        "marginals (W1) ↓": float(np.mean(marginals)),
        "correlations ↓": float(np.abs(correlations[0] - correlations[1]).mean()),
        "AUC on real ↑": float(roc_auc_score(test[LABEL], p)),
        "log-loss on real ↓": float(log_loss(test[LABEL], p)),
        "ESS": float(1 / np.square(w).sum()),
    }


if __name__ == "__main__":
    repeat("tables", once)
