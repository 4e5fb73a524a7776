"""One run by `python train.py` that many tests look at."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from integration.launch import launch


@dataclass(frozen=True)
class Run:
    """cwd: where the script was started; folder: of the run; record: its evaluation.json as train.py left it."""

    cwd: Path
    folder: Path
    stdout: str
    stderr: str
    record: dict[str, Any]
    files: frozenset[str]


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> Run:
    """The default experiment, three epochs, tracked by W&B without a network."""
    cwd = tmp_path_factory.mktemp("digits")
    code, out, err = launch("train.py", "trainer.max_epochs=3", "trainer.progress=false", cwd=cwd)
    assert code == 0, out + err
    (folder,) = (cwd / "runs/digits").iterdir()
    record = json.loads((folder / "evaluation.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    files = frozenset(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return Run(cwd, folder, out, err, record, files)


@pytest.fixture(autouse=True)
def own_environment():
    """Runs in this process leave no variables behind."""
    before = dict(os.environ)
    yield
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update(before)
