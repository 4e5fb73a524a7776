"""The Python in README.md and docs/ runs as printed, and what they name exists."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from integration.launch import launch

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md"]


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.S)


@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)], ids=lambda page: page.name)
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page, one after another, as a reader types them."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for i, block in enumerate(python_blocks(page)):
        exec(compile(block, f"{page.name}, block {i}", "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_linked_files_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def test_help_is_that_of_the_program() -> None:
    code, out, err = launch("train.py", "--help", cwd=ROOT)
    assert code == 0, err
    kept = (ROOT / "docs/train_help.txt").read_text()
    assert out == kept, "run python train.py --help > docs/train_help.txt"


def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("myst_parser", reason="the site needs the extra docs")
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-d", tmp_path / "trees", "docs", tmp_path / "site"]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    for package in ("lfiw", "lfiw.metrics", "lfiw.data", "lfiw.evaluation.plots"):
        page = (tmp_path / f"site/api/{package.rpartition('.')[2]}.html").read_text()
        names = {name for name in import_module(package).__all__ if name != "__version__"}
        assert {name for name in names if f'id="{package}.{name}"' not in page} == set()


def test_the_readme_can_be_read_in_two_minutes() -> None:
    content = (ROOT / "README.md").read_text()
    assert content.count("\n") <= 150
    assert len(content.encode()) <= 10_000


def test_tables_are_those_of_the_results() -> None:
    code, _, err = launch("tools/render_results.py", "--check", cwd=ROOT)
    assert code == 0, err
