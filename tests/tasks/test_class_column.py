"""Classes by the samples' own labels, whose shares the gate's weights match."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from integration.launch import QUICK, module

from lfiw.data import CacheWriter, SampleCache
from lfiw.errors import InputError

LABELS = {"real": [0.5, 0.3, 0.2, 0.0], "generated": [0.1, 0.3, 0.5, 0.1]}
SHORT = [*QUICK, "trainer.max_epochs=2", "folds=2", "evaluation.permutations=0"]


def caches(folder: Path, num: int = 900, labels: dict[str, torch.Tensor] | None = None) -> list[str]:
    """Two clouds of points whose classes lie side by side."""
    random = torch.Generator().manual_seed(0)
    for side, shares in LABELS.items():
        classes = torch.multinomial(torch.tensor(shares), num, replacement=True, generator=random)
        points = torch.randn(num, 2, generator=random) + 2 * classes[:, None]
        given = classes if labels is None or side not in labels else labels[side]
        with CacheWriter(folder / side) as writer:
            writer.write({"vector": points, "label": given})
    return [f"data.{side}={folder / side}" for side in LABELS]


def run(folder: Path, *options: str) -> dict:
    experiment = ["experiment=vectors", "evaluation.strata=label", f"run_dir={folder / 'run'}"]
    return module("train.py").train([*experiment, *caches(folder), *SHORT, *options])[1]


def test_labels_have_the_shares_of_the_real_rows_that_are_not_scored(tmp_path: Path) -> None:
    found = run(tmp_path)
    record, datamodule = found["record"], found["datamodule"]
    counts = torch.bincount(
        torch.cat([datamodule.splits[s][0].column("label") for s in ("train", "validation")]), minlength=4
    )
    assert record["strata"] == {"name": "label", "column": "label", "counts": counts.tolist()}
    assert counts[3] == 0  # a class of generated rows alone
    assert record["weightings"][-1]["stratify"] is True
    assert module("tools/export.py").command([str(tmp_path / "run"), "--out", str(tmp_path / "out.npz")]) == 0
    with np.load(tmp_path / "out.npz") as file:
        weight, vector = file["weight"], file["vector"]
    labels = {tuple(row): int(label) for row, label in zip(*read(tmp_path / "generated"), strict=True)}
    of_row = np.array([labels[tuple(row)] for row in vector])
    for c in range(4):
        assert weight[of_row == c].sum() == pytest.approx(float((counts[c] + 0.5) / (counts.sum() + 2)), rel=1e-6)


def read(path: Path) -> tuple[list, list]:
    cache = SampleCache(path)
    return cache["vector"].tolist(), cache["label"].tolist()


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (torch.full((900,), -1), "data.generated: column 'label': expected integers from 0 to 99,999"),
        (torch.full((900,), 10**9), "expected integers from 0 to 99,999"),
        (torch.zeros(900), "expected integers"),
    ],
)
def test_bad_labels_are_refused_before_training(tmp_path: Path, labels: torch.Tensor, words: str) -> None:
    options = caches(tmp_path, labels={"generated": labels})
    with pytest.raises(InputError, match=re.escape(words)):
        module("train.py").train(["experiment=vectors", "evaluation.strata=label", *options, *SHORT])
