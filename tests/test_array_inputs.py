"""Public functions take vectors as users have them, and name what is no vector of numbers."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lfiw import (
    InputError,
    Weighting,
    correct,
    effective_sample_size,
    kl_gain,
    log_ratio_from_logits,
    pareto_k,
    sir,
    weighted_mean,
)
from lfiw.data import WeightedRows

VALUES = np.random.default_rng(0).random(200)  # log-ratios, and weights


def drawn(log_ratio: Any) -> torch.Tensor:
    return sir(log_ratio, 20, 10, torch.Generator().manual_seed(0))


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "weighting": Weighting(0.5, 0.1, smooth=True),
    "log_ratio_from_logits": lambda v: log_ratio_from_logits(v, num_real=1, num_generated=2),
    "pareto_k": pareto_k,
    "kl_gain": lambda v: kl_gain(v, v)[0],
    "effective_sample_size": effective_sample_size,
    "sir": drawn,
    "rows drawn by weight": lambda v: torch.tensor(list(WeightedRows(v, seed=1))),
    "weighted_mean": lambda v: weighted_mean(v, v).ratio_fixed.value,
    "weighted_mean of weights": lambda v: weighted_mean(v, weights=v, real=v).auto,
}
KINDS: dict[str, Callable[[np.ndarray], Any]] = {
    "array": lambda v: v,
    "list": lambda v: v.tolist(),
    "big-endian": lambda v: v.astype(">f8"),
    "strided": lambda v: np.repeat(v, 2)[::2],
    "reversed": lambda v: v[::-1].copy()[::-1],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_vectors_of_every_kind_give_what_a_tensor_gives(name: str, kind: str) -> None:
    function = FUNCTIONS[name]
    goal, found = function(torch.from_numpy(VALUES)), function(KINDS[kind](VALUES))
    if isinstance(goal, float):
        assert found == goal
    else:
        torch.testing.assert_close(found, goal, rtol=0, atol=0)


def test_what_correct_returns_goes_back_in() -> None:
    random = np.random.default_rng(0)
    result = correct(random.normal(0.5, 1, (200, 2)), random.normal(size=(200, 2)), classifier="linear", folds=3)
    assert effective_sample_size(result.weights).item() == pytest.approx(1 / np.square(result.weights).sum())
    np.testing.assert_allclose(result.weighting(result.log_ratio).numpy(), result.weights, rtol=1e-12)
    assert pareto_k(result.log_ratio) == pareto_k(torch.from_numpy(result.log_ratio))
    assert len(sir(result.log_ratio, 10, 5)) == 10


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ma.masked_greater(VALUES, 0.9), "has masked elements"),
        (VALUES.astype(complex), "holds complex numbers"),
        (VALUES.astype(str), "holds text"),
        (VALUES.astype(object), "holds Python objects"),
    ],
)
def test_what_is_no_vector_of_numbers_is_named(name: str, values: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        FUNCTIONS[name](values)


# without the tests' own check of types, which would come first
AS_USERS_DO = """
import numpy as np, pandas as pd, torch
from lfiw import InputError, Weighting, effective_sample_size, pareto_k
from lfiw.metrics import FrechetDistance, InceptionScore, KernelDistance, frechet_distance_from_features
x = np.random.default_rng(0).normal(size=(30, 2))
t, p = torch.from_numpy(x), np.full((30, 2), 0.5)
for call in (
    lambda: FrechetDistance(2).update(x, real=True),
    lambda: KernelDistance(2).update(t, real=False, weights=p[:, 0]),
    lambda: InceptionScore(2).update(p),
    lambda: frechet_distance_from_features(x, t),
    lambda: Weighting(flatten="1"),
    lambda: Weighting(clip=None),
    lambda: Weighting()("abc"),
    lambda: effective_sample_size([[1.0], [2.0, 3.0]]),
):
    try:
        call()
    except InputError as error:
        print(error)
column = pd.Series(x[:, 0])
print((Weighting()(column) == Weighting()(t[:, 0])).all().item(), pareto_k(column) == pareto_k(t[:, 0]))
"""


def test_without_type_hints() -> None:
    found = subprocess.run([sys.executable, "-c", AS_USERS_DO], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == [
        "features came as ndarray, expected a tensor: torch.as_tensor makes one",
        "weights came as ndarray, expected a tensor: torch.as_tensor makes one",
        "probabilities came as ndarray, expected a tensor: torch.as_tensor makes one",
        "real features came as ndarray, expected a tensor: torch.as_tensor makes one",
        "Weighting: flatten='1' must be finite and ≥ 0",
        "Weighting: clip=None must be finite and ≥ 0",
        "log_ratio holds text (<U3), expected numbers: save numbers",
        "weights cannot be read as an array: give numbers, in rows of one length",
        "True True",
    ]
