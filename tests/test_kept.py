"""Parts of a study that was stopped."""

from pathlib import Path

import pytest

from tools.studies.kept import Kept


def test_a_study_goes_on_where_it_was_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made: list[int] = []

    def make(value: int) -> list[int]:
        made.append(value)
        if value == 2 and made.count(2) == 1:
            raise KeyboardInterrupt
        return [value]

    def study() -> list[list[int]]:
        kept = Kept(tmp_path / "study", ["a=1"])
        found = [kept.get(f"seed {i}", lambda i=i: make(i)) for i in range(4)]
        kept.discard()
        return found

    with pytest.raises(KeyboardInterrupt):
        study()
    assert study() == [[0], [1], [2], [3]]
    assert made == [0, 1, 2, 2, 3]
    assert capsys.readouterr().out.count("kept from a study that was stopped") == 2
    assert not (tmp_path / "study").exists()


def test_parts_under_other_settings_are_not_used(tmp_path: Path) -> None:
    assert Kept(tmp_path, ["a=1"]).get("seed 0", lambda: 1) == 1
    assert Kept(tmp_path, ["a=2"]).get("seed 0", lambda: 2) == 2
    assert Kept(tmp_path, ["a=1"]).get("seed 0", lambda: 3) == 1


def test_the_seconds_of_kept_parts_are_known(tmp_path: Path) -> None:
    first = Kept(tmp_path, [])
    first.get("seed 0", lambda: 1)
    assert first.seconds == 0
    second = Kept(tmp_path, [])
    second.get("seed 0", lambda: 1)
    assert second.seconds > 0
