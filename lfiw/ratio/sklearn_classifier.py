"""Any classifier of scikit-learn's kind as a ratio classifier."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter
from torch import Tensor

from lfiw.data.splits import GENERATED, REAL, Subset
from lfiw.data.table import GROUP, WEIGHT
from lfiw.errors import InputError, first_line
from lfiw.ratio.mixed import MixedDataModule
from lfiw.weighting.weights import log_ratio_from_logits

PRIORS = ("class_weight", "scale_pos_weight", "is_unbalance")  # options that change the prior odds


class SklearnRatio:
    """A fitted classifier's odds of `real`, the prior odds of its training rows taken out.

    Probabilities are cut to half a row of the smaller side, 1/(2n) … 1 − 1/(2n): n rows know no larger odds, and trees
    give 0 and 1. Rows of one group count as one.

    Args:
        classifier: fitted, of the classes 0 (generated) and 1 (real).
        masses: total weight of real and of generated rows that it was fitted to; numbers of rows, if they all weigh 1.
        num_rows: of them (groups), of the smaller side.
    """

    def __init__(self, classifier: Any, masses: tuple[float, float], num_rows: int) -> None:
        self.classifier, self.masses, self.num_rows = classifier, masses, num_rows

    @classmethod
    def fit(cls, classifier: Any, data: MixedDataModule, seed: int) -> "SklearnRatio":
        """Fits a clone to all rows that the data module's current fold does not hold out.

        Args:
            classifier: stays as it is.
            seed: for each `random_state` that is None.

        Raises:
            InputError: what the classifier says of its rows, or it does not take weights.
        """
        rows = fitting_rows(data)
        fitted = seeded(clone(classifier), seed)
        options = {} if rows.weights is None else {weight_option(fitted): rows.weights}
        try:
            fitted.fit(np.concatenate([as_matrix(side) for side in rows.sides]), rows.labels, **options)
        except Exception as error:  # whatever another library raises
            raise InputError(f"{type(classifier).__name__}.fit: {first_line(error)}") from error
        return cls(fitted, rows.masses, rows.num_units)

    def log_ratio(self, samples: Shaped[Tensor, "n ..."]) -> Float[Tensor, " n"]:
        """Log density ratios, float64."""
        real = list(self.classifier.classes_).index(1)
        smallest = 1 / (2 * self.num_rows)
        probability = np.asarray(self.classifier.predict_proba(as_matrix(samples)), dtype=np.float64)[:, real]
        probability = probability.clip(smallest, 1 - smallest)
        logits = torch.from_numpy(np.log(probability) - np.log1p(-probability))
        return log_ratio_from_logits(logits, num_real=self.masses[REAL], num_generated=self.masses[GENERATED])


@dataclass(frozen=True)
class FittingRows:
    """Rows of both sides that a classifier is fitted to; nothing of them stops it, so validation rows are among them.

    Args:
        sides: samples, real and generated.
        labels: 1 of real and 0 of generated rows, one side after the other.
        weights: of the same rows. None where all weigh 1.
        masses: total weight of each side.
        num_units: rows (groups) of the smaller side.
    """

    sides: tuple[Tensor, Tensor]
    labels: Shaped[np.ndarray, " n"]
    weights: Float[np.ndarray, " n"] | None
    masses: tuple[float, float]
    num_units: int


def fitting_rows(data: MixedDataModule) -> FittingRows:
    """All rows that the data module's current fold does not hold out."""
    subsets = [
        Subset(train.table, torch.cat([train.rows, validation.rows]).sort().values)
        for train, validation in zip(data.splits["train"], data.splits["validation"], strict=True)
    ]
    real, generated = (subset.column(data.input) for subset in subsets)
    masses, weights = (float(len(real)), float(len(generated))), None
    if data.weighted:
        of_sides = [subset.column(WEIGHT).numpy() for subset in subsets]
        masses, weights = (float(of_sides[REAL].sum()), float(of_sides[GENERATED].sum())), np.concatenate(of_sides)
    units = [len(subset.column(GROUP).unique()) if data.grouped else len(subset) for subset in subsets]
    labels = np.repeat([1, 0], [len(real), len(generated)])
    return FittingRows((real, generated), labels, weights, masses, min(units))


def as_matrix(samples: Shaped[Tensor, "n ..."]) -> Float[np.ndarray, "n d"]:
    """Samples side by side, each flattened."""
    return samples.flatten(1).double().numpy()


def seeded(classifier: Any, seed: int) -> Any:
    """The classifier, every random state of it and its parts that is None set to a seed."""
    parameters = classifier.get_params()
    unset = [name for name, value in parameters.items() if name.split("__")[-1] == "random_state" and value is None]
    return classifier.set_params(**dict.fromkeys(unset, seed))


def weight_option(classifier: Any) -> str:
    """The argument of `fit` that weights rows: in a pipeline, that of its last step."""
    if isinstance(classifier, Pipeline):
        name, last = classifier.steps[-1]
        return f"{name}__{weight_option(last)}"
    if not has_fit_parameter(classifier, "sample_weight"):
        raise InputError(f"{type(classifier).__name__}.fit takes no sample_weight: leave that out, or take another")
    return "sample_weight"


def check_classifier(classifier: Any) -> None:
    """Raises InputError for what is no classifier with probabilities, or changes the prior odds itself."""
    name = type(classifier).__name__
    if isinstance(classifier, type) or not all(hasattr(classifier, m) for m in ("fit", "predict_proba", "get_params")):
        raise InputError(
            f"classifier={name}: expected a network's name or options, a function from a sample's shape to a "
            "torch.nn.Module, or a classifier with fit, predict_proba and get_params, as an object"
        )
    for option, value in classifier.get_params().items():
        if option.split("__")[-1] in PRIORS and value not in (None, False, 1, 1.0):
            raise InputError(f"classifier: {name}({option}={value!r}) changes the prior odds: leave that out")
