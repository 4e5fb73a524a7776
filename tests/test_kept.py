"""Parts of a study that was stopped."""

from pathlib import Path

import pytest

from tools.studies import kept
from tools.studies.kept import Kept


def test_a_study_goes_on_where_it_was_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made: list[int] = []

    def make(value: int) -> list[int]:
        made.append(value)
        if value == 2 and made.count(2) == 1:
            raise KeyboardInterrupt
        return [value]

    def study() -> list[list[int]]:
        parts = Kept(tmp_path / "study", ["a=1"])
        found = [parts.get(f"seed {i}", lambda i=i: make(i)) for i in range(4)]
        parts.discard()
        return found

    with pytest.raises(KeyboardInterrupt):
        study()
    assert study() == [[0], [1], [2], [3]]
    assert made == [0, 1, 2, 2, 3]
    assert capsys.readouterr().out.count("reused from a study that was stopped") == 2
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


def test_parts_that_other_code_made_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Kept(tmp_path, []).get("seed 0", lambda: 1) == 1
    monkeypatch.setattr(kept, "version", lambda: "another")
    assert Kept(tmp_path, []).get("seed 0", lambda: 2) == 2


def test_the_version_is_that_of_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lfiw").mkdir()
    monkeypatch.setattr(kept, "ROOT", tmp_path)
    found = []
    for text in ("a = 1", "a = 2", "a = 1"):
        (tmp_path / "lfiw" / "module.py").write_text(text)
        found.append(kept.version.__wrapped__())
    assert found[0] == found[2] != found[1]
