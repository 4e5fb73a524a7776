"""The table of precision: its stages again, on rows that every checkout has, within the table's bounds."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor

from tools.studies.precision import Inputs, feature_differences, features_of, network_differences

ROWS = json.loads((Path(__file__).parents[1] / "results" / "precision.json").read_text())["rows"]
BOUNDS = {row["name"]: row["bound"] for row in ROWS}


def patches() -> Tensor:
    """Four pieces of scikit-learn's photographs."""
    images = [torch.from_numpy(image.copy()).permute(2, 0, 1) for image in load_sample_images().images]
    return torch.stack([image[:, 200:232, x : x + 32] for image in images for x in (100, 400)])


def correlated(n: int, seed: int, shift: float) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    return torch.randn(n, 8, generator=generator) @ mixing + shift


def check(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert row["bound"] == BOUNDS[row["name"]], "run python tools/study.py precision again"
        assert row["mean"] <= row["bound"], row["name"]


def test_the_network_is_as_near_as_the_table_says() -> None:
    images = patches()
    rows = list(network_differences(images, features_of(images)))
    assert len(rows) == 3
    check(rows)


def test_scores_and_weights_are_as_near_as_the_table_says() -> None:
    logits = 3 * torch.randn(300, 10, generator=torch.Generator().manual_seed(3))
    rows = list(feature_differences(Inputs(correlated(300, 1, 0.0), correlated(300, 2, 0.3), logits)))
    assert len(rows) == 14
    check(rows)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_the_table_is_within_its_own_bounds(row: dict[str, Any]) -> None:
    assert 0 <= row["mean"] <= row["bound"]
    assert row["why"]
