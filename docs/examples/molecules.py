"""Molecules from a character n-gram, weighted by a ratio of their SMILES; judged by descriptors that it did not see.

python docs/examples/molecules.py --seeds 10
"""

from collections import Counter, defaultdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from repetitions import Found, repeat
from scipy.stats import wasserstein_distance
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from lfiw import RatioEstimator
from lfiw.metrics import FrechetDistance

ORDER, ROWS = 6, 1500
DESCRIPTORS = ("MolLogP", "MolWt", "TPSA", "qed", "RingCount", "NumRotatableBonds", "NumHDonors", "FractionCSP3")


def n_gram(smiles: list[str], rows: int, random: np.random.Generator) -> list[str]:
    """Valid molecules, each character drawn as it follows the five before it in the given SMILES."""
    from rdkit.Chem import MolFromSmiles

    following: dict[str, Counter[str]] = defaultdict(Counter)
    for text in (f"{'^' * (ORDER - 1)}{s}$" for s in smiles):
        for i in range(ORDER - 1, len(text)):
            following[text[i - ORDER + 1 : i]][text[i]] += 1
    tables = {k: (list(c), np.cumsum(list(c.values())) / sum(c.values())) for k, c in following.items()}
    made: list[str] = []
    while len(made) < rows:
        text = "^" * (ORDER - 1)
        while text[-1] != "$" and len(text) < 100:
            characters, shares = tables[text[1 - ORDER :]]
            text += characters[np.searchsorted(shares, random.random(), side="right")]
        if text[-1] == "$" and MolFromSmiles(text[ORDER - 1 : -1]) is not None:
            made.append(text[ORDER - 1 : -1])
    return made


def described(smiles: list[str]) -> np.ndarray:
    from rdkit.Chem import Descriptors, MolFromSmiles

    return np.array([[getattr(Descriptors, d)(m) for d in DESCRIPTORS] for m in map(MolFromSmiles, smiles)])


def once(seed: int) -> Found:
    from rdkit import RDLogger

    RDLogger.DisableLog("rdApp.*")
    folder = Path(str(find_spec("moses").origin)).parent / "dataset" / "data"  # type: ignore[union-attr]
    shuffled = pd.read_csv(folder / "train.csv.gz", nrows=100_000)["SMILES"].sample(frac=1, random_state=seed).tolist()
    real, held_out = shuffled[:ROWS], shuffled[ROWS : 2 * ROWS]
    made = n_gram(shuffled[2 * ROWS : 2 * ROWS + 20_000], ROWS, np.random.default_rng(seed))
    counts = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), lowercase=False).fit_transform(real + made)
    features = TruncatedSVD(24, random_state=seed).fit_transform(counts)
    ratio = RatioEstimator(seed=seed).fit(features[:ROWS], features[ROWS:])
    uniform, truth, x = np.full(ROWS, 1 / ROWS), described(held_out), described(made)
    found = {"generated": scores(x, uniform, truth), "generated, weighted": scores(x, ratio.weights_, truth)}
    return {**found, "other real molecules": scores(described(real), uniform, truth)}


def scores(x: np.ndarray, w: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Of descriptors in the held-out molecules' standard deviations."""
    distance = FrechetDistance(num_features=len(DESCRIPTORS))
    distance.update(torch.from_numpy(truth / truth.std(0)), real=True)
    distance.update(torch.from_numpy(x / truth.std(0)), real=False, weights=torch.from_numpy(w))
    moved = {
        f"{d} (W1) ↓": float(wasserstein_distance(x[:, i], truth[:, i], w) / truth[:, i].std())
        for i, d in enumerate(DESCRIPTORS[:4])
    }
    return {"Fréchet distance ↓": float(distance.compute()), **moved, "ESS": float(1 / np.square(w).sum())}


if __name__ == "__main__":
    repeat("molecules", once, {"rdkit": "rdkit", "moses": "molsets"})
