"""results/<study>.json."""

import json
from pathlib import Path

import numpy as np
import pytest

from lfiw import InputError
from lfiw.tasks.results import hardware, read_record, row, write_study
from lfiw.version import __version__


def test_row() -> None:
    values = [1.0, 2.5, 4.0, -3.0]
    found = row("a", "fid", values, note="x")
    assert found["mean"] == pytest.approx(np.mean(values), rel=1e-15)
    assert found["se"] == pytest.approx(np.std(values, ddof=1) / 2, rel=1e-15)
    assert (found["name"], found["metric"], found["n"], found["note"]) == ("a", "fid", 4, "x")
    assert row("a", "fid", [2.0]) == {"name": "a", "metric": "fid", "mean": 2.0, "se": None, "n": 1}


def test_write_study(tmp_path: Path) -> None:
    write_study(tmp_path / "results" / "toy.json", "toy", "train.py", 12.345, [row("a", "m", [1.0])])
    content = json.loads((tmp_path / "results" / "toy.json").read_text())
    assert list(content) == ["study", "command", "version", "hardware", "seconds", "rows"]
    assert (content["study"], content["version"], content["seconds"]) == ("toy", __version__, 12.3)
    assert content["rows"] == [{"name": "a", "metric": "m", "mean": 1.0, "se": None, "n": 1}]
    assert "cores" in hardware()
    assert content["hardware"] == hardware()


def test_the_record_of_a_finished_run_or_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_record(tmp_path / "toy.json", "run it again")
    assert str(error.value) == f"{tmp_path} has no toy.json: the run did not finish; run it again"
    (tmp_path / "toy.json").write_text('{"rows": [1.5]}')
    assert read_record(tmp_path / "toy.json", "run it again") == {"rows": [1.5]}
    (tmp_path / "toy.json").write_text('{"rows": ')
    with pytest.raises(InputError, match="cannot be read"):
        read_record(tmp_path / "toy.json", "run it again")
