"""The density ratio of two sets of samples, as an estimator of scikit-learn's kind."""

import copy
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from lfiw.data.encoding import SampleEncoding
from lfiw.data.splits import GENERATED, REAL, Subset
from lfiw.data.table import GROUP, WEIGHT, TensorTable
from lfiw.errors import InputError, first_line
from lfiw.features.hog import histograms
from lfiw.metrics.class_proportions import RatioScores
from lfiw.metrics.selection import JudgingRows, choose_by_judges
from lfiw.nets import NETS, NetLike
from lfiw.ratio.cross_fitting import train_classifier
from lfiw.ratio.estimator_file import PARTIAL, read_estimator, write_estimator
from lfiw.ratio.estimator_fitting import CrossFitted, Fit, Scorer, Train, cross_fit
from lfiw.ratio.logistic import TERMS, LogisticRatio
from lfiw.ratio.mixed import MixedDataModule
from lfiw.ratio.sklearn_classifier import SklearnRatio, check_classifier
from lfiw.schemas import CALIBRATIONS, SEEDS, Trainer
from lfiw.tensors import as_tensor, plain_array
from lfiw.untrusted import naming
from lfiw.weighting.calibration import Sides
from lfiw.weighting.diagnostics import effective_sample_size, kl_gain
from lfiw.weighting.gate import CORRECTS, Choice, choose
from lfiw.weighting.moments import match_moments
from lfiw.weighting.weights import pareto_k

DEFAULT = ("linear", "quadratic", "kernel", {"name": "mlp", "width": 64})  # of vectors
WIDE = 256  # numbers per vector, above which logistic regressions take longer than the network
SMALL_IMAGE = 16  # pixels of the shorter side, below which convolutions have nothing to look at
MOST_BATCH, LEAST_BATCH, LEAST_STEPS = 512, 16, 8  # of training rows; steps per epoch
PerSide = tuple[Any, Any]


class RatioEstimator(BaseEstimator):
    """Estimates log p_data/p_model from real and generated samples by cross-fitted, recalibrated classifiers.

        ratio = RatioEstimator().fit(real, generated)
        ratio.weights_ @ values          # a mean under the data, from generated samples

    Each of `folds` classifiers is trained without one part of the rows of both sides, and scores that part. Its
    calibrator, and the coefficients of several kinds of classifiers, are fitted to the scores of all other rows. The
    gate chooses the weighting by the log-ratios of all rows, none of which had a part in its own.

    Args:
        classifier: linear, quadratic or kernel (logistic regression, `lfiw.ratio.logistic`);
            name of a network (mlp, conv4, resnet) or name and options; a torch module, or a function from a sample's
            shape to one; or a classifier with `fit` and `predict_proba` (scikit-learn, xgboost, lightgbm, a pipeline),
            which is cloned for each fold. A list of these is stacked: Σ cⱼ log ŵⱼ with the cⱼ ≥ 0 of the lowest
            log-loss. If None, linear, quadratic, kernel and a small network for vectors, a network alone for images
            and for more than 256 numbers.
        folds: at least 2.
        calibration: temperature, beta, isotonic or none.
        ensemble: classifiers per fold and kind, whose log-ratios are averaged.
        seed: of the folds, the initial weights, the batches, and each random state that is None.
        loss: of a network, its name or name and options (`lfiw.weighting.losses`).
        match_moments: of vectors, bring the weighted means and mean squares of the coordinates near to the real rows'
            (`lfiw.weighting.moments`), wherever the gate says “corrects”.
        validation: share of a fold's rows that stops the training of a network.
        lr, weight_decay, max_epochs, patience: of a network's training.
        batch_size: rows of both sides per step. If None, an eighth of the training rows, between 16 and 512.
        augment: of images, as `data.augment`.
        accelerator: auto takes a GPU if there is one.
        progress: show a progress bar.

    Attributes:
        log_ratio_, log_ratio_real_: (n,) float64, of each generated and real row by classifiers that never saw it.
        weights_: (n_generated,) float64, summing to 1: those of `weighting_`, times `sample_weight` if it was
            given, tilted by `match_moments`.
        weighting_, verdict_, reason_: what the gate chose, and why.
        ess_, pareto_k_: effective number of the weights, and the shape of their tail (before smoothing).
        scores_: of all rows by what never saw them: log-loss, accuracy, …, KL gain and its error.
        validation_: log-ratios that the gate judged by, before and after recalibration.
        encoding_, fitted_: how samples become tensors; the classifiers and their calibrators.
        n_features_in_: numbers per sample.
    """

    def __init__(
        self,
        classifier: Any = None,
        folds: int = 5,
        calibration: str = "temperature",
        ensemble: int = 1,
        seed: int = 0,
        *,
        loss: str | Mapping[str, Any] = "logistic",
        match_moments: bool = True,
        validation: float = 0.2,
        lr: float = 3e-3,
        weight_decay: float = 0.01,
        batch_size: int | None = None,
        max_epochs: int = 30,
        patience: int = 3,
        augment: str = "none",
        accelerator: str = "auto",
        progress: bool = False,
    ) -> None:
        self.classifier = classifier
        self.folds = folds
        self.calibration = calibration
        self.ensemble = ensemble
        self.seed = seed
        self.loss = loss
        self.match_moments = match_moments
        self.validation = validation
        self.lr = lr
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.augment = augment
        self.accelerator = accelerator
        self.progress = progress

    def fit(
        self, real: Any, generated: Any, groups: PerSide | None = None, sample_weight: PerSide | None = None
    ) -> "RatioEstimator":
        """Trains, calibrates, and chooses the weighting.

        Args:
            real, generated: (n, d) vectors or (n, c, h, w) images as arrays or tensors; data frames with the same
                columns; or tables (`lfiw.data`).
            groups: of real and of generated rows; rows of one group are held out together. None for a side without.
            sample_weight: of real and of generated rows, each side on a scale of its own. None for a side without. The
                ratio is then that of the weighted sides.

        Raises:
            InputError: samples or options that cannot be, in one line.
        """
        encoding = SampleEncoding.of(real, generated)
        sides = encoding(real, "real"), encoding(generated, "generated")
        return self.fit_encoded(encoding, sides, groups or (None, None), sample_weight or (None, None))

    def fit_encoded(
        self,
        encoding: SampleEncoding,
        sides: Sides,
        groups: PerSide = (None, None),
        sample_weight: PerSide = (None, None),
    ) -> "RatioEstimator":
        """As `fit`, with samples that have been encoded.

        Args:
            encoding: of samples that come later.
            sides: real and generated samples.
        """
        self._check_options(encoding.shape)
        seed = checked_seed(self.seed)
        named = list(zip(("real", "generated"), sides, strict=True))
        columns = [{encoding.column: samples} for _, samples in named]
        for kind, given, read in ((GROUP, groups, row_groups), (WEIGHT, sample_weight, row_weights)):
            if any(values is not None for values in given):
                for (name, samples), values, own in zip(named, given, columns, strict=True):
                    own[kind] = read(values, len(samples), name)
        self._check_rows(columns)
        data = MixedDataModule(
            *(TensorTable(own, name) for own, (name, _) in zip(columns, named, strict=True)),
            fractions={"train": 1 - self.validation, "validation": self.validation, "evaluation": 0.0},
            split_seed=seed,
            seed=seed,
            folds=self.folds,
            augment=self.augment,
            batch_size=self.batch_size or batch_size(min(map(len, sides)), self.folds, self.validation),
            evaluation_batch_size=10_000 if len(encoding.shape) == 1 else 1000,
            grouped=GROUP in columns[0],
            weighted=WEIGHT in columns[0],
        )
        with undisturbed(one_thread=len(encoding.shape) == 1):
            data.setup()
            fitted = cross_fit(
                data,
                [self._training(kind, encoding.shape) for kind in kinds_of(self.classifier, encoding.shape)],
                ensemble=self.ensemble,
                calibration=self.calibration,
                seed=seed,
                progress=self.progress,
            )
            return self._take(encoding, fitted, data, columns)

    def log_ratio(self, samples: Any) -> Float[np.ndarray, " n"]:
        """Log density ratios of samples that were not in `fit`, the mean over the folds, float64.

        Raises:
            NotFittedError: before `fit`.
            InputError: samples unlike those of `fit`.
        """
        check_is_fitted(self, "log_ratio_")
        values = self.encoding_(samples)
        with undisturbed(one_thread=len(self.encoding_.shape) == 1):
            return self.fitted_.log_ratio(values).numpy()

    def _take(
        self, encoding: SampleEncoding, fitted: CrossFitted, data: MixedDataModule, columns: list[dict[str, Tensor]]
    ) -> "RatioEstimator":
        choice = chosen_by_samples(fitted, data)
        weights = choice.weighting(fitted.generated)
        if data.weighted:
            given = columns[GENERATED][WEIGHT]
            weights = weights * given / (weights @ given)
        if self.match_moments and choice.verdict == CORRECTS and len(encoding.shape) == 1:
            real, generated = (own[encoding.column] for own in columns)
            weights = match_moments(weights, real, generated, columns[REAL].get(WEIGHT))
        return self._found(
            Fit(
                encoding,
                fitted,
                weights,
                choice.weighting,
                choice.verdict,
                choice.reason,
                held_out_scores(*fitted.validation.calibrated),
                effective_sample_size(weights).item(),
                pareto_k(choice.weighting.unsmoothed.log_weights(fitted.generated)),
            )
        )

    def _found(self, fit: Fit) -> "RatioEstimator":
        """Sets what `fit` sets."""
        fitted, self._fit = fit.fitted, fit
        self.encoding_, self.fitted_, self.validation_ = fit.encoding, fitted, fitted.validation
        self.n_features_in_ = math.prod(fit.encoding.shape)
        if fit.encoding.columns is not None:
            self.feature_names_in_ = np.array(list(fit.encoding.columns), dtype=object)
        self.log_ratio_, self.log_ratio_real_ = fitted.generated.numpy(), fitted.real.numpy()
        self.weights_, self.weighting_ = fit.weights.numpy(), fit.weighting
        self.verdict_, self.reason_, self.scores_ = fit.verdict, fit.reason, fit.scores
        self.ess_, self.pareto_k_ = fit.ess, fit.pareto_k
        return self

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the fitted estimator into one file (safetensors), without pickle.

        A classifier of another library needs skops. Your own torch module is kept without its code.

        Raises:
            NotFittedError: before `fit`.
            InputError: no skops, or the file cannot be written.
        """
        check_is_fitted(self, "log_ratio_")
        write_estimator(path, self.get_params(deep=False), self._fit)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], classifier: Any = None, trusted: Sequence[str] = ()
    ) -> "RatioEstimator":
        """Reads what `save` wrote; no code in the file is run.

        Args:
            classifier: the network, if it was your own.
            trusted: types of another library's classifier that skops does not know, if you trust them.

        Raises:
            InputError: no such file, another one or a damaged one.
        """
        parameters, fit = read_estimator(path, classifier, trusted)
        with naming(path, PARTIAL):
            estimator = cls().set_params(**parameters)
        return estimator._found(fit)

    def _check_options(self, shape: tuple[int, ...]) -> None:
        if self.folds < 2:
            raise InputError(f"folds={self.folds} must be at least 2: each row is scored by a classifier without it")
        if self.ensemble < 1:
            raise InputError(f"ensemble={self.ensemble} must be at least 1")
        if self.calibration not in CALIBRATIONS:
            raise InputError(f"calibration={self.calibration}: expected one of {', '.join(CALIBRATIONS)}")
        if not 0 < self.validation < 1:
            raise InputError(f"validation={self.validation} must lie in (0, 1)")
        for kind in kinds_of(self.classifier, shape):
            if not (isinstance(kind, str) and kind in TERMS) and as_network(kind) is None:
                check_classifier(kind)

    def _check_rows(self, columns: list[dict[str, Tensor]]) -> None:
        """There must be at least four rows of both sides that validate, in each fold."""
        units = 2 / (self.validation * (1 - 1 / self.folds))
        for name, own in zip(("real", "generated"), columns, strict=True):
            rows = len(next(iter(own.values())))
            if rows < 2 * units:
                raise InputError(
                    f"{name} has {rows} row{'s' * (rows > 1)}: folds={self.folds} and validation={self.validation:g} "
                    f"need at least {math.ceil(2 * units)}"
                )
            if GROUP in own and (count := len(own[GROUP].unique())) < units:
                raise InputError(f"{name} has {count} groups: folds={self.folds} needs at least {math.ceil(units)}")

    def _training(self, kind: Any, shape: tuple[int, ...]) -> Train:
        if isinstance(kind, str) and kind in TERMS:
            return partial(LogisticRatio.fit, kind)
        net = as_network(kind)
        if net is None:
            return partial(SklearnRatio.fit, kind)
        loss = {"name": self.loss} if isinstance(self.loss, str) else dict(self.loss)
        optimizer = {"lr": self.lr, "weight_decay": self.weight_decay}
        options = Trainer(
            accelerator=self.accelerator,
            max_epochs=self.max_epochs,
            patience=self.patience,
            progress=False,
        )

        def train(data: MixedDataModule, seed: int) -> Scorer:
            own = partial(copied, net) if isinstance(net, nn.Module) else net
            return train_classifier(data, net=own, optimizer=optimizer, loss=loss, options=options, seed=seed)[0]

        return train


def chosen_by_samples(fitted: CrossFitted, data: MixedDataModule) -> Choice:
    """The gate's choice by the KID of the samples themselves; of vectors, if that refuses, by the KL gain.

    A KID with a cubic kernel sees three moments, the KL gain whatever the classifier sees. Weighted rows have the KL
    gain alone.
    """
    validation, images = fitted.validation, data.input == "image"
    by_gain = partial(choose, *validation.calibrated, num_scored=len(fitted.generated))
    if validation.rows is None or data.real is None or data.generated is None:
        return by_gain()
    real, generated = (
        Subset(table, rows) for table, rows in zip((data.real, data.generated), validation.rows, strict=True)
    )
    judging = JudgingRows.of(real, generated, validation.calibrated[1])
    judge = judging.by_images("hog", histograms) if images else judging.by_coordinates(data.input)
    choice = choose_by_judges([judge], validation, num_scored=len(fitted.generated))
    if images or choice.verdict == CORRECTS:
        return choice
    other = by_gain()
    return other if other.verdict == CORRECTS else choice


def kinds_of(classifier: Any, shape: tuple[int, ...]) -> list[Any]:
    """The kinds of classifiers that are stacked: one, those of a list, or by the samples' shape.

    Raises:
        InputError: an empty list.
    """
    if isinstance(classifier, list | tuple):
        if not classifier:
            raise InputError("classifier=[]: expected at least one")
        return list(classifier)
    if classifier is not None:
        return [classifier]
    if len(shape) != 3:
        return list(DEFAULT) if math.prod(shape) <= WIDE else [DEFAULT[-1]]
    small = min(shape[1:]) < SMALL_IMAGE
    return [{"name": "mlp", "width": 64} if small else {"name": "resnet", "width": 16}]


def as_network(kind: Any) -> NetLike | None:
    """What a network is built from; None if it is none, but a classifier of another library."""
    if isinstance(kind, str) and kind not in NETS:
        raise InputError(f"classifier={kind}: no such network; networks: {', '.join(NETS)}; or {', '.join(TERMS)}")
    if isinstance(kind, str | Mapping | nn.Module):
        return kind
    is_foreign = hasattr(kind, "fit") or hasattr(kind, "predict_proba")
    return kind if callable(kind) and not is_foreign else None


def checked_seed(seed: Any) -> int:
    """Returns the seed as Python's integer, which numpy's are not.

    Raises:
        InputError: it is no seed of every library that draws.
    """
    least, most = SEEDS["at_least"], SEEDS["at_most"]
    if not isinstance(seed, Integral) or not least <= int(seed) <= most:
        raise InputError(f"seed={seed!r} must be a whole number from {least} to {most}")
    return int(seed)


def copied(net: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """A copy of a module, with its weights."""
    return copy.deepcopy(net)


def batch_size(rows: int, folds: int, validation: float) -> int:
    """An eighth of the training rows of both sides, an even number."""
    training = 2 * rows * (1 - 1 / folds) * (1 - validation)
    return 2 * round(min(MOST_BATCH, max(LEAST_BATCH, training / LEAST_STEPS)) / 2)


def row_groups(values: Any, rows: int, name: str) -> Tensor:
    """Numbers of the groups; each row is one of its own where none are given."""
    if values is None:
        return torch.arange(rows)
    found = plain_array(values, f"groups of {name}")
    if found.shape != (rows,):
        raise InputError(f"groups of {name}: expected one per row, ({rows},), got {found.shape}")
    if found.dtype.kind == "f" and np.isnan(found).any():
        raise InputError(f"groups of {name}: {int(np.isnan(found).sum())} are NaN; give these rows a group too")
    try:
        return torch.from_numpy(np.unique(found, return_inverse=True)[1])
    except TypeError as error:  # groups of several kinds, or None among them
        raise InputError(f"groups of {name}: they do not sort: {first_line(error)}") from error


def row_weights(values: Any, rows: int, name: str) -> Float[Tensor, " n"]:
    """Weights in float64; 1 where none are given."""
    if values is None:
        return torch.ones(rows, dtype=torch.float64)
    found = as_tensor(values, f"sample_weight of {name}").detach().cpu().double()
    if tuple(found.shape) != (rows,):
        raise InputError(f"sample_weight of {name}: expected one per row, ({rows},), got {tuple(found.shape)}")
    if not torch.isfinite(found).all() or (found < 0).any() or not (found > 0).any():
        raise InputError(f"sample_weight of {name}: expected finite numbers of at least 0, some of them above")
    return found


def held_out_scores(real: Float[Tensor, " n"], generated: Float[Tensor, " m"]) -> dict[str, float]:
    """Scores of log-ratios on rows that neither trained nor calibrated: `RatioScores`, the KL gain and its error."""
    scores = RatioScores()
    scores.update(torch.cat([real, generated]), torch.arange(len(real) + len(generated)) < len(real))
    gain, error = kl_gain(real, generated)
    named = {name: value.item() for name, value in scores.compute().items()}
    return {**named, "kl_gain": gain.item(), "kl_gain_error": error.item()}


@contextmanager
def undisturbed(*, one_thread: bool) -> Iterator[None]:
    """Leaves the caller's random numbers, warnings and threads as they are.

    Args:
        one_thread: of small networks and regressions: two threads wait for one another longer than they compute.
    """
    threads = torch.get_num_threads()
    devices = range(torch.cuda.device_count())
    # trees have threads of their own (openmp)
    blas = threadpool_limits(1 if one_thread else None, user_api="blas")
    with torch.random.fork_rng(devices=devices), warnings.catch_warnings(), blas:
        try:
            if one_thread:
                torch.set_num_threads(1)
            yield
        finally:
            torch.set_num_threads(threads)
