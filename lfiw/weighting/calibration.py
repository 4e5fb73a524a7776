"""Recalibration of log-ratios on held-out rows, and how far they are from calibrated."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from scipy.optimize import brentq, minimize
from sklearn.isotonic import IsotonicRegression
from torch import Tensor
from torch.nn import functional as F

from lfiw.errors import InputError
from lfiw.weighting.strata import Strata
from lfiw.weighting.weights import check_log_ratio

Sides = tuple[Tensor, Tensor]  # log-ratios of real and of generated rows
STEEPEST = 100.0  # 1/T lies within 1/100 … 100, since separated rows have no finite optimum


@runtime_checkable
class Calibrator(Protocol):
    """A monotone map from log-ratios to log-ratios, fitted on rows of both sides, each of which counts half.

    The prior odds are therefore 1, and the result is a log density ratio whatever the numbers of rows.
    """

    def __call__(self, log_ratio: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Recalibrates log-ratios; float64."""
        ...

    def state(self) -> dict[str, Any]:
        """Returns plain numbers from which `calibrator_from_state` rebuilds it."""
        ...


@dataclass(frozen=True)
class Temperature:
    """Computes log ŵ / T (Guo et al., ICML 2017): 1/T is the exponent α of a flattened weighting, but fitted.

    It is fitted within 0.01 … 100.
    """

    inverse: float

    def __call__(self, log_ratio: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        return log_ratio.double() * self.inverse

    def state(self) -> dict[str, Any]:
        return {"name": "temperature", **asdict(self)}


@dataclass(frozen=True)
class Beta:
    """Computes c + a·log p − b·log(1 − p), p = σ(log ŵ), a, b ≥ 0: one slope per side (Kull et al., AISTATS 2017).

    a and b are fitted within 0 … 100.
    """

    a: float
    b: float
    c: float

    def __call__(self, log_ratio: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        values = log_ratio.double()
        return self.c + self.a * F.logsigmoid(values) - self.b * F.logsigmoid(-values)

    def state(self) -> dict[str, Any]:
        return {"name": "beta", **asdict(self)}


@dataclass(frozen=True)
class Isotonic:
    """Fits any monotone map: log-odds of isotonic regression, linear between knots (Zadrozny & Elkan, KDD 2002).

    The plateaus at its ends have probability 0 or 1, a ratio of 0 or infinity: with n rows on the smaller side they are
    clipped to 1/(2n) and 1 − 1/(2n), half a row.
    """

    knots: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, log_ratio: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        mapped = np.interp(log_ratio.double().cpu().numpy(), self.knots, self.values)
        return torch.from_numpy(mapped).to(log_ratio.device)

    def state(self) -> dict[str, Any]:
        return {"name": "isotonic", "knots": list(self.knots), "values": list(self.values)}


def fit_calibrator(
    name: str,
    log_ratio_real: Float[Tensor, " n"],
    log_ratio_generated: Float[Tensor, " m"],
    weights: Sides | None = None,
) -> Calibrator:
    """Fits the calibrator of that name by the log-loss on these rows, each side counting half.

    Args:
        name: temperature, beta or isotonic.
        log_ratio_real, log_ratio_generated: of rows that the classifier did not train on.
        weights: the rows' weights, each side on its own scale. If None, uniform.

    Raises:
        InputError: the name is unknown, a value is NaN or infinite, or a side has fewer than 2 rows.
    """
    for log_ratio, side in ((log_ratio_real, "real"), (log_ratio_generated, "generated")):
        check_log_ratio(log_ratio)
        if log_ratio.numel() < 2:
            raise InputError(f"calibration: the {side} side has {log_ratio.numel()} row; at least 2 are needed")
    fits: dict[str, Callable[[Rows, Rows], Calibrator]] = {
        "temperature": _fit_temperature,
        "beta": _fit_beta,
        "isotonic": _fit_isotonic,
    }
    if name not in fits:
        raise InputError(f"calibration={name}: expected one of {', '.join(fits)}")
    weights = weights or (torch.ones_like(log_ratio_real), torch.ones_like(log_ratio_generated))
    real, generated = (
        Rows(log_ratio.double().cpu().numpy(), (w.double() / w.double().sum()).cpu().numpy())
        for log_ratio, w in zip((log_ratio_real, log_ratio_generated), weights, strict=True)
    )
    return fits[name](real, generated)


def calibrator_from_state(state: Mapping[str, Any]) -> Calibrator:
    """Rebuilds a calibrator from its `state()`.

    Raises:
        InputError: it is not the state of a calibrator.
    """
    try:
        options = dict(state)
        name = options.pop("name", None)
        if name == "isotonic":
            knots, values = (tuple(map(float, options.pop(key))) for key in ("knots", "values"))
            if options or len(knots) != len(values) or not knots or not all(map(_ascends, (knots, values))):
                raise ValueError
            return Isotonic(knots, values)
        numbers = {key: float(value) for key, value in options.items()}
        if not all(math.isfinite(value) and (value >= 0 or key == "c") for key, value in numbers.items()):
            raise ValueError
        if name == "temperature":
            return Temperature(**numbers)
        if name == "beta":
            return Beta(**numbers)
        raise ValueError
    except (KeyError, TypeError, ValueError):
        raise InputError(f"not the state of a calibrator: {str(state)[:200]}") from None


def _ascends(values: tuple[float, ...]) -> bool:
    return all(map(math.isfinite, values)) and list(values) == sorted(values)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -values))


@dataclass(frozen=True)
class Rows:
    """Log-ratios of one side, and their weights, which sum to 1."""

    log_ratio: np.ndarray
    weights: np.ndarray


def _fit_temperature(real: Rows, generated: Rows) -> Temperature:
    def slope(inverse: float) -> float:
        """Computes the derivative of the log-loss, which is convex in 1/T, so that it increases."""
        of_real = real.log_ratio * _sigmoid(-inverse * real.log_ratio)
        of_generated = generated.log_ratio * _sigmoid(inverse * generated.log_ratio)
        return float(of_generated @ generated.weights - of_real @ real.weights)

    low, high = 1 / STEEPEST, STEEPEST
    if slope(low) >= 0:
        return Temperature(low)
    if slope(high) <= 0:
        return Temperature(high)
    return Temperature(float(brentq(slope, low, high, xtol=1e-12)))


def _fit_beta(real: Rows, generated: Rows) -> Beta:
    # log p and −log(1 − p) of each row
    features = [
        np.stack([-np.logaddexp(0, -x), np.logaddexp(0, x), np.ones_like(x)])
        for x in (real.log_ratio, generated.log_ratio)
    ]

    def loss_and_gradient(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        of_real, of_generated = (parameters @ f for f in features)
        loss = np.logaddexp(0, -of_real) @ real.weights + np.logaddexp(0, of_generated) @ generated.weights
        gradient = features[1] @ (_sigmoid(of_generated) * generated.weights)
        gradient -= features[0] @ (_sigmoid(-of_real) * real.weights)
        return loss / 2, gradient / 2

    bounds = [(0, STEEPEST), (0, STEEPEST), (None, None)]
    optimum = minimize(
        loss_and_gradient,
        x0=np.array([1.0, 1.0, 0.0]),
        jac=True,
        bounds=bounds,
        method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000},
    )
    return Beta(*map(float, optimum.x))


def _fit_isotonic(real: Rows, generated: Rows) -> Isotonic:
    smallest = 1 / (2 * min(len(real.log_ratio), len(generated.log_ratio)))
    fitted = IsotonicRegression(y_min=smallest, y_max=1 - smallest)
    fitted.fit(
        np.concatenate([real.log_ratio, generated.log_ratio]),
        np.concatenate([np.ones(len(real.log_ratio)), np.zeros(len(generated.log_ratio))]),
        sample_weight=np.concatenate([real.weights, generated.weights]) / 2,
    )
    probability = fitted.y_thresholds_
    return Isotonic(
        tuple(fitted.X_thresholds_.tolist()), tuple((np.log(probability) - np.log1p(-probability)).tolist())
    )


@dataclass(frozen=True)
class Reliability:
    """Predicted probability of `real` against the share of real rows, in bins of equal width.

    Args:
        probability, share: (bins,) means per bin; nan in empty bins.
        count: (bins,) rows per bin.
    """

    probability: Float[Tensor, " bins"]
    share: Float[Tensor, " bins"]
    count: Float[Tensor, " bins"]

    @property
    def expected_error(self) -> float:
        """Expected calibration error: Σ count/n·|probability − share| (Naeini et al., AAAI 2015)."""
        gap = (self.probability - self.share).abs().nan_to_num(0.0)
        return (gap * self.count).sum().item() / self.count.sum().item()

    @property
    def maximum_error(self) -> float:
        """Largest |probability − share| over bins with rows."""
        return (self.probability - self.share).abs().nan_to_num(0.0).max().item()


def reliability(log_ratio: Float[Tensor, " n"], is_real: Bool[Tensor, " n"], bins: int = 15) -> Reliability:
    """Measures calibration at the rows' own odds: the probability is σ(log ŵ + log(num_real/num_generated)).

    Raises:
        InputError: a value is NaN or infinite, or a side has no row.
    """
    check_log_ratio(log_ratio)
    num_real = int(is_real.sum())
    num_generated = len(is_real) - num_real
    if not num_real or not num_generated:
        raise InputError(f"reliability needs rows of both sides: {num_real} real, {num_generated} generated")
    probability = torch.sigmoid(log_ratio.double() + math.log(num_real / num_generated))
    index = (probability * bins).long().clamp(max=bins - 1)
    count = torch.bincount(index, minlength=bins).double()
    mean, share = (
        torch.bincount(index, weights=values, minlength=bins) / count for values in (probability, is_real.double())
    )
    return Reliability(mean, share, count)


@dataclass(frozen=True)
class Validation:
    """Log-ratios of the validation rows that neither trained nor calibrated, of all folds together.

    Args:
        raw: the classifiers' log-ratios of real and of generated rows.
        calibrated: the same, recalibrated.
        rows: row numbers in the real and the generated table; a row that several folds validate appears that often.
        strata: of the real and of the generated rows, where weights are to match class shares.
    """

    raw: Sides
    calibrated: Sides
    rows: tuple[Int64[Tensor, " n"], Int64[Tensor, " m"]] | None = None
    strata: tuple[Strata, Strata] | None = None


def fit_calibrators(
    method: str,
    folds: Sequence[Sides],
    rows: Sequence[Sides] | None = None,
) -> tuple[list[Calibrator | None], Validation]:
    """Fits each fold's calibrator on every other of its validation rows; returns them and the others, to judge by.

    Args:
        method: a name in `CALIBRATIONS`.
        rows: the validation rows' numbers in their tables, fold by fold.
    """
    calibrators: list[Calibrator | None] = []
    raw: list[Sides] = []
    calibrated: list[Sides] = []
    numbers: list[Sides] = []
    for i, sides in enumerate(folds):
        if method == "none":
            calibrators.append(None)
            raw.append(sides)
            calibrated.append(sides)
            numbers += [rows[i]] if rows else []
            continue
        fits = every_other(sides[0]), every_other(sides[1])
        calibrator = fit_calibrator(method, *chosen(sides, fits))
        judges = ~fits[0], ~fits[1]
        judging = chosen(sides, judges)
        calibrators.append(calibrator)
        raw.append(judging)
        calibrated.append((calibrator(judging[0]), calibrator(judging[1])))
        numbers += [chosen(rows[i], judges)] if rows else []
    return calibrators, Validation(pooled(raw), pooled(calibrated), pooled(numbers) if rows else None)


def every_other(rows: Tensor) -> Bool[Tensor, " n"]:
    """Returns a mask of the first row, the third, …"""
    return torch.arange(len(rows)) % 2 == 0


def chosen(sides: Sides, masks: Sides) -> Sides:
    """Selects rows of both sides."""
    return sides[0][masks[0]], sides[1][masks[1]]


def pooled(folds: Sequence[Sides]) -> Sides:
    """Concatenates the real and the generated values of all folds."""
    return torch.cat([real for real, _ in folds]), torch.cat([generated for _, generated in folds])
