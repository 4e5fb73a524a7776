#!/usr/bin/env python
"""Run the tests with the lowest and with the newest versions of all dependencies that pyproject.toml allows.

python tools/test_versions.py lowest                        into .venv-lowest, then the tests that need no extra
python tools/test_versions.py newest --venv /tmp/newest     elsewhere
python tools/test_versions.py lowest -- tests/metrics -k fid      other tests

An environment takes 5 GB; an existing one is reused. This needs uv (pip install uv).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from lfiw.cli import Parser, run_script
from lfiw.errors import InputError

ROOT = Path(__file__).parents[1]
RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest"}
FOLDERS = ("data", "features", "metrics", "ratio", "training", "weighting")
OF_EXTRAS = ("test_dependencies.py",)  # checks what all extras bring
# old releases use what newer releases of their dependencies have deprecated
WARNINGS = {"lowest": ("-W", "ignore::DeprecationWarning"), "newest": ()}


def main(arguments: list[str]) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("which", choices=RESOLUTIONS)
    parser.add_argument("--venv", type=Path, metavar="DIR", help="folder of the environment (default: .venv-WHICH)")
    parser.add_argument("--python", default="3.11", help="Python's version (default: 3.11)")
    parser.epilog = "Arguments of pytest come after -- (default: the tests that need no extra)."
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:end])
    if shutil.which("uv") is None:
        raise InputError("uv is not installed: pip install uv")
    venv = (options.venv or ROOT / f".venv-{options.which}").absolute()
    python = venv / "bin/python"
    if not python.exists():
        run("uv", "venv", "--quiet", "--python", options.python, venv)
    install = ("uv", "pip", "install", "--quiet", "--python", python, "--resolution", RESOLUTIONS[options.which])
    run(*install, "--editable", ".[test]")
    run("uv", "pip", "tree", "--python", python, "--package", "lfiw", "--depth", 1)
    whole = sorted(str(file) for file in (ROOT / "tests").glob("test_*.py") if file.name not in OF_EXTRAS)
    tests = arguments[end + 1 :] or [*whole, *(f"tests/{name}" for name in FOLDERS)]
    run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *WARNINGS[options.which], *tests)


def run(*command: object) -> None:
    """Runs a command; raises InputError if it fails, whose reason is in the command's output."""
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "WANDB_API_KEY")}
    done = subprocess.run(list(map(str, command)), cwd=ROOT, env={**environment, "PYTHONPATH": str(ROOT)})
    if done.returncode:
        raise InputError(f"{' '.join(map(str, command[:5]))} … ended with code {done.returncode}")


if __name__ == "__main__":
    sys.exit(run_script(main))
