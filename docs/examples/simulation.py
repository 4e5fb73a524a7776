"""A detector's simulation against data whose truth is known: weighted means beside hep_ml's and densratio's weights.

python docs/examples/simulation.py --seeds 10
"""

import numpy as np
from repetitions import Found, repeat

from lfiw import RatioEstimator

ROWS, TRUTH = 2000, 1_000_000
SEEN = ("transverse momentum", "pseudorapidity", "missing energy", "isolation")


def events(rows: int, random: np.random.Generator, simulated: bool) -> np.ndarray:
    """What the detector measures; the simulation's spectra are too soft, and its isolation ignores the momentum."""
    momentum = random.gamma(2.0, 18.0 if simulated else 22.0, rows)
    rapidity = random.normal(0, 1.1 if simulated else 0.9, rows)
    pile_up = random.poisson(15 if simulated else 20, rows)
    missing = np.hypot(*random.normal(0, 4 + 0.5 * np.sqrt(pile_up), (2, rows))) + 0.1 * momentum
    isolation = random.exponential(1, rows) * (1.0 if simulated else 1 + momentum / 100)
    smeared = momentum * random.normal(1, 0.1, rows)  # the resolution
    return np.column_stack([smeared, rapidity, missing, isolation])


def observables(x: np.ndarray) -> np.ndarray:
    """Means of what was seen, and of four more: energy, the two regions of a search, and a product of two."""
    momentum, rapidity, missing, isolation = x.T
    energy, central = momentum * np.cosh(rapidity), np.abs(rapidity) < 1
    region = (missing > 20) & central
    return np.column_stack([x, energy, region, (momentum > 60) & (isolation < 1), isolation * momentum])


def once(seed: int) -> Found:
    from densratio import densratio
    from hep_ml.reweight import FoldingReweighter, GBReweighter

    random = np.random.default_rng(seed)
    real, simulated = (events(ROWS, random, kind) for kind in (False, True))
    large = observables(events(TRUTH, np.random.default_rng(10**6), False))
    folding = FoldingReweighter(GBReweighter(), n_folds=5, random_state=seed, verbose=False)
    scale = real.std(0)
    weights = {
        "simulation": np.ones(ROWS),
        "lfiw": RatioEstimator(seed=seed).fit(real, simulated).weights_,
        "lfiw, moments not matched": RatioEstimator(seed=seed, match_moments=False).fit(real, simulated).weights_,
        "hep_ml GBReweighter": folding.fit(simulated, real).predict_weights(simulated),
        "densratio RuLSIF": densratio(real / scale, simulated / scale, alpha=0.1, verbose=False).compute_density_ratio(
            simulated / scale
        ),
    }
    mean, std = large.mean(0), large.std(0)
    found = {name: scores(observables(simulated), w, mean, std) for name, w in weights.items()}
    return {**found, "as many real events": scores(observables(real), np.ones(ROWS), mean, std)}


def scores(values: np.ndarray, w: np.ndarray, mean: np.ndarray, std: np.ndarray) -> dict[str, float]:
    """Root mean squared errors of the observables' means, in the data's standard deviations."""
    w = np.clip(w, 0, None) / np.clip(w, 0, None).sum()
    error = np.square((w @ values - mean) / std)
    return {
        "error, seen ↓": float(np.sqrt(error[: len(SEEN)].mean())),
        "error, not seen ↓": float(np.sqrt(error[len(SEEN) :].mean())),
        "ESS": float(1 / np.square(w).sum()),
    }


if __name__ == "__main__":
    repeat("simulation", once, {"densratio": "densratio", "hep_ml": "hep_ml"})
