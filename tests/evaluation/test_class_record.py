"""The KID within each class; the oracle is scikit-learn's polynomial kernel on the rows of that class."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from records import RECORD, read
from sklearn.metrics.pairwise import polynomial_kernel
from torch import Tensor

from lfiw.data import TensorTable
from lfiw.data.splits import everything
from lfiw.evaluation.class_record import FEWEST_ROWS, distances_within, with_classes
from lfiw.evaluation.record import EvaluationRecord, WithinClass
from lfiw.evaluation.tables import within_class_rows

G = torch.Generator().manual_seed(0)
D = 5


def rows(counts: list[int], shift: float = 0.0) -> tuple[Tensor, Tensor]:
    """Features around a centre of their class, and the classes."""
    classes = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    features = classes[:, None] + shift + torch.randn(len(classes), D, generator=G)
    return features.float(), classes


def oracle(real: Tensor, generated: Tensor, weights: Tensor) -> float:
    """The unbiased squared MMD of weighted rows, term by term."""
    x, y, w = real.double().numpy(), generated.double().numpy(), (weights / weights.sum()).numpy()

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(polynomial_kernel(a, b, degree=3, gamma=1 / D, coef0=1))

    n = len(x)
    among_real = kernel(x, x)
    among_generated = np.outer(w, w) * kernel(y, y)
    return float(
        (among_real.sum() - np.trace(among_real)) / (n * (n - 1))
        + (among_generated.sum() - np.trace(among_generated)) / (1 - (w**2).sum())
        - 2 * (kernel(x, y) @ w).mean()
    )


def test_each_class_is_compared_with_itself() -> None:
    real, generated = rows([60, 40, 80]), rows([30, 90, 50], 0.4)
    weights = torch.rand(170, generator=G, dtype=torch.float64)
    found = distances_within(*real, *generated, weights)
    assert [(c.number, c.num_real, c.num_generated) for c in found] == [(0, 60, 30), (1, 40, 90), (2, 80, 50)]
    for c in found:
        x, y = real[0][real[1] == c.number], generated[0][generated[1] == c.number]
        w = weights[generated[1] == c.number]
        before = oracle(x, y, torch.ones_like(w))
        assert c.kid.value == pytest.approx(before, rel=1e-9)
        assert c.difference.value == pytest.approx(oracle(x, y, w) - before, rel=1e-7)
        assert c.difference.half_width is not None
        assert c.difference.half_width > c.difference.se > 0


def test_weights_that_only_move_the_shares_change_nothing_within_a_class() -> None:
    real, generated = rows([60, 60]), rows([30, 90], 0.4)
    weights = torch.where(generated[1] == 0, 3.0, 1.0).double()
    for c in distances_within(*real, *generated, weights):
        assert c.difference.value == pytest.approx(0, abs=1e-12)


def test_exact_weights_correct_within_a_class() -> None:
    """Real rows around 0, generated ones around 0.4: log p/q = 0.4·(0.2 − x) per dimension."""
    real, generated = rows([2000]), rows([2000], 0.4)
    weights = torch.softmax(0.4 * (0.2 - generated[0].double()).sum(1), 0)
    (found,) = distances_within(*real, *generated, weights)
    assert found.difference.half_width is not None
    assert found.difference.value + found.difference.half_width < 0
    assert abs(found.kid.value + found.difference.value) < 0.2 * found.kid.value


def test_small_classes_and_classes_of_one_side_are_left_out() -> None:
    real, generated = rows([FEWEST_ROWS, FEWEST_ROWS - 1, 50]), rows([FEWEST_ROWS, 50])
    assert [c.number for c in distances_within(*real, *generated, torch.ones(70).double())] == [0]


@pytest.mark.parametrize("weight", [0.0, 1e-30])
def test_a_class_whose_weight_one_row_has(weight: float) -> None:
    weights = torch.full((50,), weight, dtype=torch.float64)
    weights[0] = 1.0 if weight else 0.0
    (found,) = distances_within(*rows([50]), *rows([50]), weights)
    assert np.isfinite(found.kid.value)
    assert np.isnan(found.difference.value)
    assert found.difference.half_width is None


def test_values_whose_kernel_overflows() -> None:
    real, generated = rows([50]), rows([50])
    huge = (real[0].double() * 1e160, real[1])
    (found,) = distances_within(*huge, *generated, torch.rand(50, dtype=torch.float64, generator=G))
    assert np.isnan(found.kid.value)


def test_the_record_has_the_classes_that_the_logits_tell() -> None:
    real, generated = rows([60, 40]), rows([30, 90], 0.4)
    weights = torch.rand(120, generator=G, dtype=torch.float64)
    sides = [
        everything(TensorTable({"f": features, "logits": torch.eye(3)[classes]}, name))
        for name, (features, classes) in (("real", real), ("generated", generated))
    ]
    found = with_classes(read(RECORD), sides[0], sides[1], "f", "logits", weights)
    assert found.by_class == distances_within(*real, *generated, weights)
    assert EvaluationRecord.from_json(json.loads(json.dumps(found.to_json()))) == found
    few = with_classes(read(RECORD), sides[0], sides[1], "f", "logits", weights, most_rows=50)
    assert few.by_class is not None
    assert [(c.number, c.num_real) for c in few.by_class] == [(1, 20)]  # 12 generated rows are left of the other


def test_the_table_lists_the_largest_distances_in_order() -> None:
    example = distances_within(*rows([50]), *rows([50], 0.5), torch.rand(50, dtype=torch.float64, generator=G))[0]
    many = tuple(replace(example, number=i, kid=replace(example.kid, value=float(i))) for i in range(30))
    record = replace(read(RECORD), by_class=many)
    titles, lines = within_class_rows(record)
    assert titles == ["class", "real rows", "generated rows", "KID ↓", "half ★ − uniform"]
    assert [line[0] for line in lines] == [str(i) for i in range(10, 30)]
    assert all("[" in line[-1] for line in lines)
    uniform = replace(
        record, recommended="uniform", by_class=(WithinClass(7, 50, 50, example.kid, example.difference),)
    )
    titles, lines = within_class_rows(uniform)
    assert (titles[-1], lines[0][:3]) == ("KID ↓", ["7", "50", "50"])
