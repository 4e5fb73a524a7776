"""Balance of an evaluation's features: what is listed, in which order, by which weights."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lfiw.errors import InputError
from lfiw.evaluation.balance_record import balance_of
from lfiw.evaluation.figures import balance_pictures
from lfiw.evaluation.module import FeatureColumn
from lfiw.evaluation.record import EvaluationRecord
from lfiw.evaluation.report import write_report
from lfiw.evaluation.scored_rows import ScoredRows
from lfiw.evaluation.scoring import score
from lfiw.evaluation.tables import print_evaluation
from lfiw.metrics.balance import standardised_mean_differences
from lfiw.schemas import Evaluation
from lfiw.weighting.calibration import Validation


def normal(seed: int, n: int, d: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_columns_are_listed_the_furthest_apart_first() -> None:
    balance = balance_of(normal(0, 200, 3) + torch.tensor([0.1, 2.0, -1.0]), normal(1, 200, 3), None)
    assert balance.columns == ("column 1", "column 2", "column 0")
    sizes = [abs(smd) for smd in balance.before.smd]
    assert sizes == sorted(sizes, reverse=True)
    assert balance.before.max_smd == sizes[0]
    assert balance.before.mean_smd == np.mean(sizes)
    assert balance.after is None


def test_of_many_columns_the_components_of_both_sides_are_listed() -> None:
    """A direction that 40 of 60 columns share is the first component of correlations, whatever the columns' units."""
    common = [normal(seed, 300, 1) for seed in (2, 3)]
    units = torch.logspace(-3, 3, 60, dtype=torch.float64)
    shared = (torch.arange(60) < 40).double()
    real, generated = (
        (c * shared + 0.5 * normal(seed, 300, 60)) * units for c, seed in zip(common, (4, 5), strict=True)
    )
    generated = generated + 1.5 * shared * units
    balance = balance_of(real, generated, None)
    assert len(balance.columns) == 30
    assert balance.columns[0] == "component 1"
    along = [(side / units) @ shared / 40 for side in (real, generated)]
    expected = standardised_mean_differences(along[0][:, None], along[1][:, None]).abs().item()
    assert math.isclose(max(abs(smd) for smd in balance.before.smd), expected, rel_tol=0.02)
    everywhere = standardised_mean_differences(real, generated).abs()
    assert math.isclose(balance.before.max_smd, everywhere.max(), rel_tol=1e-12)
    assert balance.before.auc > 0.7


def test_equal_distributions_of_more_columns_than_rows_are_not_told_apart() -> None:
    """Components of one side alone would: they spread more there than on rows that they were not fitted to."""
    before = balance_of(normal(6, 150, 400), normal(7, 150, 400), None).before
    assert abs(before.auc - 0.5) < before.half_width


def scored(seed: int = 0, weighting: str = "auto", **options: object) -> EvaluationRecord:
    """N(½, 1) against N(0, 1) in each of two dimensions, with exact log-ratios."""
    real, generated = normal(8, 400, 2) + 0.5, normal(9, 500, 2)
    sides = tuple((0.5 * x - 0.125).sum(1) for x in (normal(10, 400, 2) + 0.5, normal(11, 400, 2)))
    rows = ScoredRows.of_tensors({"f": real}, {"f": generated}, (0.5 * generated - 0.125).sum(1))
    given = Evaluation(exponents=[], permutations=0, **options)  # type: ignore[arg-type]
    features = [FeatureColumn("f", 2)]
    return score(rows, Validation(sides, sides), features, options=given, weighting=weighting, seed=seed)


def test_scores_carry_the_balance_under_the_recommended_weights() -> None:
    balance = scored().balance
    assert balance is not None
    assert balance.after is not None
    assert balance.before.max_smd > 0.4
    assert balance.after.max_smd < 0.25  # 3 standard errors of 300 effective and 400 real rows
    assert balance.before.auc - balance.before.half_width > 0.55
    assert abs(balance.after.auc - 0.5) < 2 * balance.after.half_width
    assert balance == scored().balance


def test_uniform_weights_have_no_after() -> None:
    balance = scored(weighting="uniform").balance
    assert balance is not None
    assert balance.after is None


def test_no_balance_unless_asked_for() -> None:
    record = scored(balance=False)
    assert record.balance is None
    assert "balance" not in record.to_json()


def test_a_record_goes_through_its_file_and_nan_is_null(tmp_path: Path) -> None:
    constant = torch.cat([normal(12, 50, 1), torch.ones(50, 1, dtype=torch.float64)], dim=1)
    balance = balance_of(constant, constant + torch.tensor([0.0, 1.0]), None)
    assert balance.columns[0] == "column 1"
    assert math.isnan(balance.before.smd[0])  # two constants: no spread to measure their distance by
    assert balance.before.ks[0] == pytest.approx(1)
    record = replace(scored(balance=False), balance=balance)
    record.write(tmp_path / "evaluation.json")
    again = EvaluationRecord.read(tmp_path / "evaluation.json")
    assert again.to_json() == record.to_json()
    assert record.to_json()["balance"]["before"]["smd"][0] is None


def test_columns_and_distances_are_as_many() -> None:
    content = scored().to_json()
    content["balance"]["before"]["ks"].append(0.5)
    with pytest.raises(InputError, match="balance: expected one smd and one ks for each of the 2 columns"):
        EvaluationRecord.from_json(content)


def test_the_page_and_the_terminal_say_what_a_second_classifier_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = scored()
    balance = record.balance
    assert balance is not None
    assert balance.after is not None
    sentence = (
        f"with AUC {balance.before.auc:.3f} ± {balance.before.half_width:.3f} before weighting "
        f"and {balance.after.auc:.3f} ± {balance.after.half_width:.3f} after; 0.5 is perfect."
    )
    print_evaluation(record)
    assert sentence in " ".join(capsys.readouterr().out.split())
    write_report(tmp_path / "report.html", record, {"balance": list(balance_pictures(balance).values())})
    assert sentence in (tmp_path / "report.html").read_text()
    write_report(tmp_path / "without.html", replace(record, balance=None), {})
    assert 'id="balance"' not in (tmp_path / "without.html").read_text()
