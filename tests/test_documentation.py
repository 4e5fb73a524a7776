"""The Python in README.md and docs/ runs as printed, and what they name exists."""

import re
from pathlib import Path
from typing import Any

import pytest
from integration.launch import launch

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]


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


def test_tables_are_those_of_the_results() -> None:
    code, _, err = launch("tools/render_results.py", "--check", cwd=ROOT)
    assert code == 0, err
