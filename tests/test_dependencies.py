"""What the code imports is what pyproject.toml asks for: nothing works only because another package brings it."""

import ast
import re
import runpy
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = [ROOT / "train.py", ROOT / "evaluate.py", *sorted((ROOT / "lfiw").rglob("*.py"))]
TOOLS = sorted((ROOT / "tools").glob("*.py"))
FOR_DEVELOPERS = sorted((ROOT / "tools").glob("*/**/*.py"))
OWN = {"lfiw", "train", "evaluate", *(path.stem for path in (ROOT / "tools").iterdir())}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
FOR_USERS = {extra: requirements for extra, requirements in EXTRAS.items() if extra not in ("test", "dev")}
OTHERS = [r for requirements in EXTRAS.values() for r in requirements if not r.startswith("lfiw[")]


def normalised(name: str) -> str:
    """https://packaging.python.org/en/latest/specifications/name-normalization/"""
    return re.sub(r"[-_.]+", "-", name).lower()


def named(requirements: list[str]) -> set[str]:
    """Distributions that requirements ask for; `gymnasium[mujoco]` asks for both."""
    found = set()
    for requirement in requirements:
        name, extras = re.fullmatch(r"([\w.-]+)(?:\[([\w,]+)\])?.*", requirement).groups()  # type: ignore[union-attr]
        found |= {normalised(part) for part in (name, *(extras or "").split(",")) if part}
    return found


def imports(file: Path) -> Iterator[tuple[str, bool]]:
    """Top-level modules of others, and whether they are imported as soon as the file is."""
    tree = ast.parse(file.read_text())
    at_once = set(ast.walk(ast.Module([node for node in tree.body if not _is_lazy(node)], [])))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        else:
            continue
        for name in names:
            module = name.partition(".")[0]
            if module not in OWN and module not in sys.stdlib_module_names:
                yield module, node in at_once


def _is_lazy(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.ClassDef) or (
        isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )


def undeclared(files: list[Path], always: set[str], lazily: set[str]) -> dict[str, str]:
    """Imports that are in none of the distributions: file → module."""
    brought_by = packages_distributions()
    found = {}
    for file in files:
        for module, at_once in imports(file):
            assert module in brought_by, f"{file} imports {module}, which is not installed"
            declared = always if at_once else always | lazily
            if not declared & {normalised(name) for name in brought_by[module]}:
                found[str(file.relative_to(ROOT))] = module
    return found


def test_the_package_and_the_tools() -> None:
    """Dependencies at once; those of an extra that a user installs where they are needed."""
    for_users = set().union(*map(named, FOR_USERS.values()))
    assert not undeclared([*PACKAGE, *TOOLS], named(PROJECT["dependencies"]), for_users)


def test_benchmarks_and_studies() -> None:
    declared = named(PROJECT["dependencies"]) | named(OTHERS)
    assert not undeclared(FOR_DEVELOPERS, declared, set())


def test_developers_get_every_extra() -> None:
    assert {"lfiw", "test", *FOR_USERS} <= named(EXTRAS["dev"])


def test_what_is_not_declared_is_found() -> None:
    """One dependency less, and each is missed by name."""
    declared = named(PROJECT["dependencies"])
    for name, module in (("numpy", "numpy"), ("pillow", "PIL"), ("pyyaml", "yaml"), ("scikit-learn", "sklearn")):
        assert module in undeclared(PACKAGE, declared - {name}, set()).values()


@pytest.mark.parametrize("requirement", [*PROJECT["dependencies"], *OTHERS])
def test_every_requirement_has_a_lower_bound(requirement: str) -> None:
    assert re.search(r"[>=]=\d", requirement)


def test_the_tests_of_other_versions_are_there() -> None:
    folders = runpy.run_path(str(ROOT / "tools" / "test_versions.py"))["FOLDERS"]
    assert [name for name in folders if not (ROOT / "tests" / name).is_dir()] == []
