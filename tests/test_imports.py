"""Importing the package and asking a script for help loads nothing heavy, and takes no time."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "numpy", "pytorch_lightning", "torchmetrics", "wandb", "matplotlib", "scipy", "sklearn", "PIL")
SECONDS = 2.0  # of the processor: how busy the machine is does not count
SCRIPTS = ["train.py", "evaluate.py", *sorted(f"tools/{file.name}" for file in (ROOT / "tools").glob("*.py"))]
NOT_FOR_USERS = (
    "tools/study.py",
    "tools/benchmark.py",
    "tools/benchmark_statistics.py",
    "tools/render_results.py",
)
RUN = "import runpy, sys, time; sys.argv = sys.argv[1:]; sys.path.insert(0, '.')\n"
TELL = "print('\\n##', time.process_time(), *sorted({name.partition('.')[0] for name in sys.modules}))"


def measured(statement: str, *arguments: str) -> tuple[float, set[str], str]:
    """Processor seconds, top-level modules and output of a fresh interpreter."""
    program = f"{RUN}try:\n    {statement}\nexcept SystemExit as ended:\n    assert not ended.code, ended.code\n{TELL}"
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600)
    assert done.returncode == 0, done.stderr
    out, _, told = done.stdout.rpartition("##")
    seconds, *modules = told.split()
    return float(seconds), set(modules), out


def test_importing_the_package() -> None:
    seconds, modules, _ = measured("import lfiw, lfiw.data, lfiw.config, lfiw.errors")
    assert seconds < SECONDS
    assert not modules & set(HEAVY)


@pytest.mark.parametrize("script", [script for script in SCRIPTS if script not in NOT_FOR_USERS])
def test_help_of_a_script(script: str) -> None:
    seconds, modules, out = measured("runpy.run_path(sys.argv[0], run_name='__main__')", script, "--help")
    assert out.strip()
    assert seconds < SECONDS
    assert not modules & set(HEAVY)


def test_a_mistake_in_the_configuration_is_told_at_once() -> None:
    program = [sys.executable, "train.py", "optimizer.lr=fast"]
    started = time.process_time()
    done = subprocess.run(program, capture_output=True, text=True, cwd=ROOT, timeout=600)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert time.process_time() - started < SECONDS


def test_output_that_nobody_reads_any_more() -> None:
    """`train.py --help | head -1`"""
    shell = f"'{sys.executable}' train.py --help | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", shell], capture_output=True, text=True, cwd=ROOT, timeout=600
    )
    assert done.stdout.startswith("Train a ratio classifier")
    assert done.stderr == ""
