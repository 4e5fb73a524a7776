"""A fitted `RatioEstimator` as one safetensors file: numbers and JSON, no code.

Classifiers of other libraries stand in it as skops writes them, which runs no code on reading either.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lfiw.data.encoding import SampleEncoding
from lfiw.errors import InputError, first_line
from lfiw.files import write_atomically
from lfiw.nets import NetLike
from lfiw.ratio.classifier import RatioClassifier
from lfiw.ratio.estimator_fitting import CrossFitted, Fit, Scorer, Stack
from lfiw.ratio.logistic import LogisticRatio
from lfiw.ratio.sklearn_classifier import SklearnRatio
from lfiw.untrusted import built_for, naming, network_file, read_weights
from lfiw.weighting.calibration import Validation, calibrator_from_state
from lfiw.weighting.weights import Weighting

KEY, KIND = "ratio_estimator", "lfiw.RatioEstimator"
NUMBERS = ("real", "generated", "weights", "raw_real", "raw_generated", "calibrated_real", "calibrated_generated")
PARTIAL = "does not hold a whole ratio estimator"
REMEDY = "give a file that RatioEstimator.save wrote"


def write_estimator(path: str | os.PathLike[str], parameters: Mapping[str, Any], fit: Fit) -> None:
    """Writes the file, whole or not at all.

    Args:
        parameters: of the estimator.

    Raises:
        InputError: a classifier of another library, and no skops; or the file system refuses.
    """
    fitted = fit.fitted
    numbers = {
        "real": fitted.real,
        "generated": fitted.generated,
        "weights": fit.weights,
        **named_sides("raw", fitted.validation.raw),
        **named_sides("calibrated", fitted.validation.calibrated),
    }
    members, tensors = [], dict(numbers)
    for fold, classifiers in enumerate(fitted.classifiers):
        kept = []
        for number, classifier in enumerate(classifiers):
            about, state = described(classifier)
            kept.append(about)
            tensors |= {f"classifier.{fold}.{number}.{name}": value for name, value in state.items()}
        members.append(kept)
    classifier = parameters["classifier"]
    content = {
        "kind": KIND,
        "parameters": {name: value for name, value in parameters.items() if name != "classifier"},
        "classifier": classifier if is_plain(classifier) else None,
        "encoding": fit.encoding.state(),
        "members": members,
        "calibrators": [c.state() if c is not None else None for c in fitted.calibrators],
        "weighting": asdict(fit.weighting),
        "verdict": fit.verdict,
        "reason": fit.reason,
        "scores": fit.scores,
        "ess": fit.ess,
        "pareto_k": fit.pareto_k,
    }
    write_atomically(path, network_file(KEY, content, tensors))


def is_plain(classifier: Any) -> bool:
    """Whether names and options say what it is, so that JSON holds it."""
    if isinstance(classifier, list | tuple):
        return all(map(is_plain, classifier))
    return isinstance(classifier, str | dict)


def named_sides(name: str, sides: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    return {f"{name}_real": sides[0], f"{name}_generated": sides[1]}


def described(classifier: Scorer) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A classifier as plain values and tensors."""
    if isinstance(classifier, Stack):
        parts: list[dict[str, Any]] = []
        tensors: dict[str, Tensor] = {}
        for i, part in enumerate(classifier.parts):
            of_part, state = described(part)
            parts.append(of_part)
            tensors |= {f"{i}.{name}": value for name, value in state.items()}
        return {"stack": parts, "coefficients": classifier.coefficients.tolist()}, tensors
    if isinstance(classifier, RatioClassifier):
        return classifier.kept(), classifier.state_dict()
    if isinstance(classifier, LogisticRatio):
        num_landmarks, num_features = classifier.landmarks.shape
        about = {"kind": classifier.kind, "num_features": num_features, "num_landmarks": num_landmarks}
        return {"logistic": about}, classifier.state_dict()
    assert isinstance(classifier, SklearnRatio)
    name = type(classifier.classifier).__name__
    try:
        content = skops(f"saving a {name}").dumps(classifier.classifier)
    except InputError:
        raise
    except Exception as error:  # whatever skops cannot write
        raise InputError(f"skops cannot write a {name}: {first_line(error)}") from None
    about = {"skops": name, "masses": list(classifier.masses), "num_rows": classifier.num_rows}
    return about, {"skops": torch.from_numpy(np.frombuffer(content, dtype=np.uint8).copy())}


def skops(what: str) -> Any:
    """The module `skops.io`."""
    try:
        return import_module("skops.io")
    except ImportError:
        raise InputError(
            f"{what} needs skops, which runs no code from a file as pickle does: pip install skops"
        ) from None


def read_estimator(path: str | os.PathLike[str], classifier: Any, trusted: Sequence[str]) -> tuple[dict[str, Any], Fit]:
    """Returns the estimator's parameters, and what it had found.

    Args:
        classifier: the network, if it was one of the user's own.
        trusted: types that skops may read though it does not know them.

    Raises:
        InputError: no such file, another one, a damaged one; or it needs one of the arguments.
    """
    with naming(path, PARTIAL):
        try:
            content, tensors = read_weights(path, KEY, "a ratio estimator")
        except FileNotFoundError:
            raise InputError(f"{path} does not exist: {REMEDY}") from None
        if content.get("kind") != KIND:
            raise InputError(f"{path} does not hold a ratio estimator: {REMEDY}")
        classifiers: list[list[Scorer]] = [
            [
                made(about, below(tensors, f"classifier.{fold}.{i}."), classifier, trusted)
                for i, about in enumerate(kept)
            ]
            for fold, kept in enumerate(content["members"])
        ]
        numbers = {name: tensors[name] for name in NUMBERS}
        raw, calibrated = ((numbers[f"{k}_real"], numbers[f"{k}_generated"]) for k in ("raw", "calibrated"))
        validation = Validation(raw, calibrated)
        calibrators = [calibrator_from_state(s) if s is not None else None for s in content["calibrators"]]
        fitted = CrossFitted(classifiers, calibrators, numbers["real"], numbers["generated"], validation)
        parameters = {**content["parameters"], "classifier": classifier or content["classifier"]}
        return parameters, Fit(
            SampleEncoding.from_state(content["encoding"]),
            fitted,
            numbers["weights"],
            Weighting(**content["weighting"]),
            str(content["verdict"]),
            str(content["reason"]),
            dict(content["scores"]),
            float(content["ess"]),
            float(content["pareto_k"]),
        )


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start so, without that."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def made(about: Mapping[str, Any], state: Mapping[str, Tensor], net: NetLike | None, trusted: Sequence[str]) -> Scorer:
    """The classifier that was described."""
    if "stack" in about:
        parts = [made(of_part, below(state, f"{i}."), net, trusted) for i, of_part in enumerate(about["stack"])]
        coefficients = torch.tensor([float(c) for c in about["coefficients"]], dtype=torch.float64)
        return Stack(parts, coefficients)
    if "logistic" in about:
        return built_for(state, partial(LogisticRatio, **about["logistic"]))
    if "skops" not in about:
        if about["net"] is None and net is None:
            raise InputError("its network was one of your own: give it as load(path, classifier=…)")
        return RatioClassifier.from_kept(about, state, net).eval()
    io = skops(f"loading a {about['skops']}")
    content = state["skops"].numpy().tobytes()
    unknown = sorted(set(io.get_untrusted_types(data=content)) - set(trusted))
    if unknown:
        raise InputError(
            f"it has types that skops does not trust: {', '.join(unknown)}; if you do, give load(path, trusted=[…])"
        )
    first, second = about["masses"]
    return SklearnRatio(io.loads(content, trusted=list(trusted)), (float(first), float(second)), int(about["num_rows"]))
