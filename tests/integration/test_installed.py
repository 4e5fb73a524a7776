"""A wheel, installed into an empty folder, does what a checkout does."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from configparser import ConfigParser
from pathlib import Path

import numpy as np
import pytest
from integration.launch import QUICK, ROOT, environment

from lfiw.cli import COMMANDS


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from copies, so that a checkout stays as it is."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("lfiw", "conf"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", out, source)
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    pip("install", "--no-deps", "--no-index", "--target", folder, wheel)
    return folder


def pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr


def run(installed: Path, cwd: Path, command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(installed / "bin" / command), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(PYTHONPATH=str(installed)),
        timeout=600,
    )


def test_the_wheel_has_every_module_conf_and_the_templates(wheel: Path) -> None:
    expected = {str(file.relative_to(ROOT)) for file in (ROOT / "lfiw").rglob("*.py")}
    expected |= {f"lfiw/{file.relative_to(ROOT)}" for file in (ROOT / "conf").rglob("*.yaml")}
    expected |= {str(file.relative_to(ROOT)) for file in (ROOT / "lfiw/evaluation/templates").iterdir()}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (entries,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        scripts = ConfigParser()
        scripts.read_string(archive.read(entries).decode())
    assert names == expected
    assert dict(scripts["console_scripts"]) == {
        f"lfiw-{name.replace('_', '-')}": f"lfiw.commands.{name}:command" for name in COMMANDS
    }


def test_every_command_has_a_front_door_in_a_checkout() -> None:
    modules = {file.stem for file in (ROOT / "lfiw/commands").glob("*.py")} - {"__init__"}
    assert modules == set(COMMANDS)
    doors = [f"{name}.py" if name in ("train", "evaluate") else f"tools/{name}.py" for name in COMMANDS]
    assert all((ROOT / door).is_file() for door in doors)
    assert len(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]) == len(COMMANDS)


def test_installed_commands_call_themselves_by_their_names(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "lfiw-train", "--help")
    assert done.returncode == 0, done.stderr
    assert "lfiw-train experiment=toy" in done.stdout
    assert "train.py" not in done.stdout
    assert "tools/" not in done.stdout
    assert "experiment   cifar10_gan" in done.stdout  # the choices are files of conf/
    done = run(installed, tmp_path, "lfiw-score")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.endswith("(see lfiw-score --help)\n")
    done = run(installed, tmp_path, "lfiw-evaluate")
    assert "run lfiw-train first" in done.stderr


@pytest.mark.slow
def test_from_samples_to_an_export_by_installed_commands(installed: Path, tmp_path: Path) -> None:
    def well(command: str, *arguments: object) -> str:
        done = run(installed, tmp_path, command, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    program = "import lfiw, lfiw.config; print(lfiw.__file__, lfiw.config.CONF)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(installed)),
    )
    assert done.stdout.split() == [str(installed / "lfiw/__init__.py"), str(installed / "lfiw/conf")]

    told = well("lfiw-train", "trainer.max_epochs=1", *QUICK[:3], "logger=none", "run_dir=runs/digits/a")
    assert "run folder: runs/digits/a" in told
    well("lfiw-evaluate", "runs/digits/a", "evaluation.paper=true", "evaluation.figures=true")
    assert (tmp_path / "runs/digits/a/report.html").read_text().startswith("<!")
    record = json.loads((tmp_path / "runs/digits/a/evaluation.json").read_text())
    assert "fid_paper" in record["weightings"][0]["metrics"]

    well("lfiw-cache-dataset", "digits", "--out", "cache/real")
    assert "1,797 rows" in well("lfiw-cache-samples", "info", "cache/real")
    np.save(tmp_path / "new.npy", np.zeros((3, 1, 8, 8), np.uint8))
    well("lfiw-score", "run=runs/digits/a", "new.npy", "--out", "weights.npz")
    well("lfiw-export", "runs/digits/a", "--out", "out.npz")
    well("lfiw-sample", "generator=digits", "run=runs/digits/a", "num=5", "out=cache/better")
    (cache,) = (tmp_path / "cache").glob("digits-generated-*")
    well("lfiw-resample", "--cache", cache, "--log-ratio", "log_ratio/a", "--num", 5, "--out", "cache/set")
    np.save(tmp_path / "features.npy", np.random.default_rng(0).normal(size=(1797, 2)))
    well("lfiw-cache-features", "npz", "features.npy", "--name", "mine", "--cache", "cache/real")
    assert os.listdir(tmp_path / "cache/set")
