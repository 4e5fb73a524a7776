"""Run folders that were moved, copied, linked to, or damaged."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from trainings import NAMES, build, check_same, everything, run

from lfiw import InputError
from lfiw.config import compose, load
from lfiw.training.tracking import build_loggers, finish
from lfiw.untrusted import read_checkpoint

QUICK = ("ratio", "dynamics")  # these train in a second


def texts(value: Any) -> Iterator[str]:
    """All texts in nested dictionaries and lists, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from (*texts(key), *texts(inner))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts(inner)


def best_epoch(folder: Path, monitor: str, highest: bool) -> int:
    """By metrics.jsonl, counted from 0; the first of equal ones."""
    logged = [line[monitor] for line in map(json.loads, everything(folder)["log"]) if monitor in line]
    return logged.index(max(logged) if highest else min(logged))


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_a_copy_resumes_to_the_same_bits(tmp_path: Path, name: str) -> None:
    first, copy = tmp_path / "first", tmp_path / "elsewhere/a copy"
    first.mkdir()
    run(name, first, max_epochs=2)
    shutil.copytree(first, copy)
    for folder in (first, copy):
        run(name, folder, resume=True, max_epochs=3)
    check_same(everything(copy), everything(first))
    kept = read_checkpoint(copy / "checkpoints/last.ckpt")
    assert not [text for text in texts(kept) if str(first) in text]
    if monitor := build(name, tmp_path / "unused").monitor:
        found = read_checkpoint(copy / "checkpoints/best.ckpt")["epoch"]
        assert found == best_epoch(copy, monitor, highest=monitor == "val/accuracy")


def test_the_best_epoch_stays_the_best(tmp_path: Path) -> None:
    """An early one, in a folder that is renamed, and in one that is linked to."""
    (tmp_path / "first").mkdir()
    run("ratio", tmp_path / "first", max_epochs=6)
    assert best_epoch(tmp_path / "first", "val/log_loss", False) < 5, "a later epoch has to be worse"
    shutil.move(tmp_path / "first", tmp_path / "second")
    (tmp_path / "link").symlink_to(tmp_path / "second", target_is_directory=True)
    for folder, epochs in (("second", 7), ("link", 8)):
        run("ratio", tmp_path / folder, resume=True, max_epochs=epochs)
        best = read_checkpoint(tmp_path / "second/checkpoints/best.ckpt")["epoch"]
        assert best == best_epoch(tmp_path / "second", "val/log_loss", False)


def test_the_best_checkpoint_is_missing(tmp_path: Path) -> None:
    run("ratio", tmp_path, max_epochs=1)
    (tmp_path / "checkpoints/best.ckpt").unlink()
    with pytest.raises(InputError, match=r"has last\.ckpt but not best\.ckpt.*: copy the whole run folder"):
        run("ratio", tmp_path, resume=True, max_epochs=2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("finished")
    (folder / "config.yaml").write_text(compose(["logger=csv"]).text)
    resume(folder, None)
    return folder


def resume(folder: Path, last: str | None = "yes") -> None:
    config = load(folder).config
    loggers = build_loggers(config.logger.name, folder, {}, resumed=last is not None)
    run("ratio", folder, resume=last is not None, loggers=loggers, max_epochs=1 if last is None else 2)
    finish(loggers)


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_a_damaged_run_folder_resumes_or_is_refused_in_one_line(tmp_path: Path, finished: Path, count: int) -> None:
    draw = random.Random(0)
    resumed = 0
    for i in range(count):
        folder = tmp_path / str(i)
        shutil.copytree(finished, folder)
        for file in draw.sample([path for path in sorted(folder.rglob("*")) if path.is_file()], draw.randint(1, 2)):
            content = file.read_bytes()
            damage = draw.choice(["remove", "cut", "empty", "junk", "folder", "flip", "dangle"])
            file.unlink()
            if damage == "folder":
                file.mkdir()
            elif damage == "dangle":
                file.symlink_to("nowhere")
            elif damage == "cut":
                file.write_bytes(content[: draw.randrange(len(content) + 1)])
            elif damage == "flip":
                place = draw.randrange(len(content))
                file.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
            elif damage != "remove":
                file.write_bytes(b"" if damage == "empty" else draw.randbytes(50))
        try:
            resume(folder)
        except InputError:
            continue
        resumed += 1
    assert 0 < resumed < count
