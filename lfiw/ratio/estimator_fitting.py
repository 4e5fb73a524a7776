"""Cross-fitting in memory: every row is scored, stacked and recalibrated by what never saw it, and every row judges."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Shaped
from scipy.optimize import minimize
from torch import Tensor

from lfiw.data.batches import mix_seeds
from lfiw.data.encoding import SampleEncoding
from lfiw.data.splits import GENERATED, REAL
from lfiw.data.table import WEIGHT
from lfiw.ratio.cross_fitting import combine, each_member, members_of
from lfiw.ratio.mixed import MixedDataModule
from lfiw.training.progress import with_progress
from lfiw.weighting.calibration import Calibrator, Sides, Validation, fit_calibrator
from lfiw.weighting.diagnostics import effective_sample_size
from lfiw.weighting.resampling import drawn_by_weight
from lfiw.weighting.weights import Weighting


@runtime_checkable
class Scorer(Protocol):
    """A trained classifier: a `RatioClassifier`, or any other."""

    def log_ratio(self, samples: Tensor) -> Tensor:
        """(n, …) → (n,) log density ratios, float64."""
        ...


Train = Callable[[MixedDataModule, int], Scorer]  # from the rows of the current fold, and a seed


@dataclass(frozen=True, eq=False)
class Stack:
    """Several classifiers' log-ratios as one, Σ cⱼ log ŵⱼ.

    Args:
        parts: the classifiers.
        coefficients: one each, at least 0.
    """

    parts: Sequence[Scorer]
    coefficients: Float[Tensor, " parts"]

    def log_ratio(self, samples: Shaped[Tensor, "n ..."]) -> Float[Tensor, " n"]:
        """Log density ratios, float64."""
        return self.coefficients @ torch.stack([part.log_ratio(samples).double() for part in self.parts])


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """What cross-fitting gives.

    Args:
        classifiers: (folds, ensemble), as trained; of several kinds, their stack.
        calibrators: one per fold. If None, it has none.
        real, generated: (n,) log-ratios, each row by the classifiers of the fold that holds it out.
        validation: the same rows, to judge by; of weighted sides, rows drawn by weight.
    """

    classifiers: list[list[Scorer]]
    calibrators: list[Calibrator | None]
    real: Float[Tensor, " n"]
    generated: Float[Tensor, " m"]
    validation: Validation

    def log_ratio(self, samples: Shaped[Tensor, "n ..."]) -> Float[Tensor, " n"]:
        """Log-ratios of samples that no classifier was trained on: the mean over all folds."""
        scores = torch.stack([torch.stack([c.log_ratio(samples) for c in fold]) for fold in self.classifiers])
        return combine(scores, torch.full((len(samples),), -1), self.calibrators)[0]


@dataclass(frozen=True, eq=False)
class Fit:
    """All that `RatioEstimator.fit` finds.

    Args:
        encoding: of samples that come later.
        weights: of the generated rows; they sum to 1.
        weighting, verdict, reason: the gate's choice.
        scores: of the log-ratios on rows that neither trained nor calibrated.
        ess: effective sample size of the weights; pareto_k: their tail's shape.
    """

    encoding: SampleEncoding
    fitted: CrossFitted
    weights: Float[Tensor, " m"]
    weighting: Weighting
    verdict: str
    reason: str
    scores: dict[str, float]
    ess: float
    pareto_k: float


def cross_fit(
    datamodule: MixedDataModule,
    kinds: Sequence[Train],
    *,
    ensemble: int,
    calibration: str,
    seed: int,
    progress: bool = False,
) -> CrossFitted:
    """Trains classifiers for each fold, and scores the rows that it holds out.

    A fold's stack and calibrator are fitted to the scores of all other rows, so that no row has a part in its own
    log-ratio but through the few numbers that those are made of.

    Args:
        datamodule: set up, with folds, and all rows in them.
        kinds: each makes one kind of classifier; their log-ratios are stacked.
        ensemble: classifiers per fold and kind.
        calibration: a name in `CALIBRATIONS`.
        seed: of the classifiers.
        progress: show a progress bar.
    """
    folds = datamodule.folds
    tables = [t for t in (datamodule.real, datamodule.generated) if t is not None]
    fold_of = [datamodule.folds_of(table) for table in tables]
    scores = [torch.zeros(len(kinds), len(table), dtype=torch.float64) for table in tables]
    trained: list[list[list[Scorer]]] = [[] for _ in range(folds)]
    members = members_of(folds, ensemble)
    shown = with_progress(members, "classifiers", shown=progress)
    for member, own_seed in each_member(datamodule, shown, seed):
        classifiers = [train(datamodule, own_seed) for train in kinds]
        trained[member.fold].append(classifiers)
        for side, table in enumerate(tables):
            rows = (fold_of[side] == member.fold).nonzero().squeeze(1)
            samples = table.read(rows, [datamodule.input])[datamodule.input]
            found = torch.stack([classifier.log_ratio(samples).double() for classifier in classifiers])
            scores[side][:, rows] += found / ensemble

    weights = [table[WEIGHT].double() if datamodule.weighted else torch.ones(len(table)).double() for table in tables]
    raw = [torch.zeros_like(side[0]) for side in scores]
    calibrated = [torch.zeros_like(side[0]) for side in scores]
    calibrators: list[Calibrator | None] = []
    coefficients = []
    for fold in range(folds):
        others, own = [of != fold for of in fold_of], [of == fold for of in fold_of]
        fitting = scores[REAL][:, others[REAL]], scores[GENERATED][:, others[GENERATED]]
        of_others = weights[REAL][others[REAL]], weights[GENERATED][others[GENERATED]]
        c = stacking_coefficients(fitting, of_others)
        calibrator = None
        if calibration != "none":
            calibrator = fit_calibrator(calibration, c @ fitting[REAL], c @ fitting[GENERATED], of_others)
        for side in (REAL, GENERATED):
            stacked = c @ scores[side][:, own[side]]
            raw[side][own[side]] = stacked
            calibrated[side][own[side]] = stacked if calibrator is None else calibrator(stacked)
        coefficients.append(c)
        calibrators.append(calibrator)
    return CrossFitted(
        [
            [kept[0] if len(kinds) == 1 else Stack(kept, c) for kept in of_fold]
            for of_fold, c in zip(trained, coefficients, strict=True)
        ],
        calibrators,
        calibrated[REAL],
        calibrated[GENERATED],
        judging(raw, calibrated, weights if datamodule.weighted else None, seed),
    )


def stacking_coefficients(scores: Sides, weights: Sides) -> Float[Tensor, " kinds"]:
    """Coefficients of at least 0 with the lowest log-loss of Σ cⱼ log ŵⱼ, each side counting half; 1 of one kind alone.

    Stacking (Wolpert 1992; Breiman 1996) of cross-fitted scores.

    Args:
        scores: (kinds, n) of real and (kinds, m) of generated rows.
        weights: of the rows, each side on a scale of its own.
    """
    kinds = len(scores[REAL])
    if kinds == 1:
        return torch.ones(1, dtype=torch.float64)
    # each score with the sign that its side should have
    signed = torch.cat([scores[REAL], -scores[GENERATED]], dim=1).numpy()
    mass = torch.cat([side / side.sum() / 2 for side in weights]).numpy()

    def loss(c: np.ndarray) -> tuple[float, np.ndarray]:
        margin = c @ signed
        wrong = np.exp(-np.logaddexp(0, margin))  # σ(−margin)
        return float(np.logaddexp(0, -margin) @ mass), -signed @ (wrong * mass)

    found = minimize(loss, np.full(kinds, 1 / kinds), jac=True, bounds=[(0, None)] * kinds, method="L-BFGS-B")
    return torch.from_numpy(found.x)


def judging(
    raw: Sequence[Tensor], calibrated: Sequence[Tensor], weights: Sequence[Tensor] | None, seed: int
) -> Validation:
    """The log-ratios to judge by: all rows; of weighted sides as many as their effective number, drawn by weight."""
    rows = [torch.arange(len(side)) for side in raw]
    if weights is not None:
        rows = [
            drawn_by_weight(
                w,
                max(2, round(effective_sample_size(w).item())),
                torch.Generator().manual_seed(mix_seeds(seed, side)),
            )
            for side, w in enumerate(weights)
        ]

    def taken(sides: Sequence[Tensor]) -> Sides:
        return sides[REAL][rows[REAL]], sides[GENERATED][rows[GENERATED]]

    return Validation(taken(raw), taken(calibrated), None if weights is not None else (rows[REAL], rows[GENERATED]))
