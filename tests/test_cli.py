"""What every script does before and after its work."""

import ast
import os
from pathlib import Path

import pytest

from lfiw.cli import SCRIPT, run_script

LIBRARY = Path(__file__).parent.parent / "lfiw"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "2000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, None),
    ],
)
def test_idle_threads_sleep_early_unless_the_environment_says_otherwise(
    given: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    seen = []
    assert run_script(lambda arguments: seen.append(os.environ.get("GOMP_SPINCOUNT")), []) == 0
    assert seen == [expected]


def calls(node: ast.AST, name: str) -> list[ast.Call]:
    return [n for n in ast.walk(node) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == name]


def words(node: ast.AST) -> list[str]:
    return [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]


def test_whatever_is_printed_names_commands_as_they_were_started() -> None:
    """`tools/score.py` does not exist for a user of the installed package, who started `lfiw-score`."""
    wrong = [
        f"{file.relative_to(LIBRARY)}:{printed.lineno}"
        for file in LIBRARY.rglob("*.py")
        for printed in calls(ast.parse(file.read_text()), "print")
        if any(map(SCRIPT.search, words(printed))) and not calls(printed, "as_started")
    ]
    assert wrong == []
