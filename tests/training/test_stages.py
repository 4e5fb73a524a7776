"""Seconds of a run's stages."""

import time
from pathlib import Path

import pytest

from lfiw.training.run_folder import FILE, seconds_of, timed


def test_stages_are_kept_in_order_and_replaced(tmp_path: Path) -> None:
    for stage, seconds in (("training", 0.05), ("scores", 0.0), ("training", 0.0)):
        with timed(tmp_path, stage):
            time.sleep(seconds)
    kept = seconds_of(tmp_path)
    assert list(kept) == ["training", "scores"]
    assert kept["training"] < 0.05


def test_a_resumed_stage_goes_on(tmp_path: Path) -> None:
    for _ in range(2):
        with timed(tmp_path, "training", resumed=True):
            time.sleep(0.05)
    assert 0.1 <= seconds_of(tmp_path)["training"] < 1


def test_a_stage_that_fails_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"), timed(tmp_path, "training"):
        raise ValueError("no")
    assert seconds_of(tmp_path) == {}


def test_a_damaged_file_is_as_none(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("[")
    assert seconds_of(tmp_path) == {}
