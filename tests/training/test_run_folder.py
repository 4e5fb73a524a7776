"""Where a run goes."""

import os
from pathlib import Path

import pytest

from lfiw import InputError
from lfiw.data.cache.manifest import check_column_name
from lfiw.files import read_json, write_json
from lfiw.training.run_folder import (
    ENVIRONMENT,
    column_part,
    create_run,
    discard_run,
    keep_evaluation,
    latest_run,
    leave_run,
)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(ENVIRONMENT, "")  # so that what a run sets is undone
    monkeypatch.delenv(ENVIRONMENT)


def create(run_dir: str | None = None, seed: int = 7) -> Path:
    made = create_run("digits", seed, run_dir, "seed: 7\n")
    leave_run()
    return made


def test_named_after_experiment_date_and_seed() -> None:
    run = create()
    assert run.parent == Path("runs/digits")
    assert run.name.endswith("-s7")
    assert (run / "config.yaml").read_text() == "seed: 7\n"
    check_column_name(f"log_ratio/{run.name}")


def test_two_runs_in_one_second_are_two_folders() -> None:
    runs = [create() for _ in range(5)]
    assert len(set(runs)) == 5
    assert all((run / "config.yaml").is_file() for run in runs)


def test_a_folder_that_is_named_is_not_renamed() -> None:
    assert create("here/mine") == Path("here/mine")
    with pytest.raises(InputError, match=r"here/mine holds a run already: .* resume=here/mine"):
        create("here/mine")
    Path("empty").mkdir()
    assert create("empty") == Path("empty")


@pytest.mark.parametrize(
    "name", ["a b", "..", ".", ".hidden", "x/..", "run.json", "run.safetensors", "é", "a:b", "x" * 250]
)
def test_a_name_that_cannot_name_a_column(name: str) -> None:
    with pytest.raises(InputError, match="run_dir=") as error:
        create(name)
    assert "\n" not in str(error.value)
    assert ENVIRONMENT not in os.environ
    assert not list(Path().rglob("config.yaml"))


def test_where_nothing_can_be_written() -> None:
    Path("file").write_text("")
    with pytest.raises(InputError, match=r"cannot write there .*: give run_dir="):
        create("file/run")
    with pytest.raises(InputError, match="cannot write there"):
        create("file")


def test_processes_that_a_run_starts_inherit_its_folder() -> None:
    first = create_run("digits", 0, None, "x")
    assert create_run("digits", 0, None, "x").samefile(first)
    assert len(list(Path("runs/digits").iterdir())) == 1
    leave_run()
    leave_run()
    assert create() != first


def test_a_run_that_made_nothing_is_taken_away() -> None:
    run = create()
    discard_run(run)
    assert not run.exists()
    run = create()
    (run / "checkpoints").mkdir()
    discard_run(run)
    assert (run / "config.yaml").is_file()


def test_an_earlier_evaluation_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    run = Path("run")
    run.mkdir()
    keep_evaluation(run, {"a": 1})  # the first one
    for content, report in (({"a": 1}, "first"), ({"a": 1}, "again"), ({"a": 2}, "second"), ({"a": 3}, None)):
        keep_evaluation(run, content)
        write_json(run / "evaluation.json", content)
        if report:
            (run / "report.html").write_text(report)
    assert [read_json(run / f"evaluation{suffix}.json") for suffix in ("-1", "-2", "")] == [
        {"a": 1},
        {"a": 2},
        {"a": 3},
    ]
    assert [(run / f"report-{n}.html").read_text() for n in (1, 2)] == ["again", "second"]
    assert not (run / "report.html").exists()
    told = capsys.readouterr().out.splitlines()
    assert told == [f"the earlier evaluation, which differs, is now run/evaluation-{n}.json" for n in (1, 2)]


@pytest.mark.parametrize("name", ["my run (copy)", ".hidden", "é", "x" * 250, "run.json", "a\udcffb"])
def test_a_run_that_was_renamed_still_names_its_columns(name: str) -> None:
    part = column_part(Path("runs") / name)
    assert check_column_name(f"log_ratio_spread/{part}/fold0-member1")
    assert part != column_part(Path("runs") / f"{name}2")
    assert column_part(Path("runs/20260102-s0")) == "20260102-s0"


def test_latest() -> None:
    with pytest.raises(InputError, match=r"no run in runs/: run train\.py first"):
        latest_run()
    runs = [Path("runs/a/1"), Path("runs/b/2"), Path("runs/a/3")]
    for run, time in zip(runs, (20, 30, 10), strict=True):
        run.mkdir(parents=True)
        (run / "config.yaml").write_text("")
        os.utime(run / "config.yaml", (time, time))
    Path("runs/c/unfinished").mkdir(parents=True)
    assert latest_run() == Path("runs/b/2")
    with pytest.raises(InputError, match=r"no run with task=ratio in runs/: run train\.py first"):
        latest_run("ratio")
    (runs[0] / "config.yaml").write_text("task: {name: ratio}\n")
    os.utime(runs[0] / "config.yaml", (20, 20))
    (runs[1] / "config.yaml").write_text("task: {name: augmentation}\n")
    assert latest_run() == Path("runs/b/2")
    assert latest_run("ratio") == Path("runs/a/1")
    (runs[1] / "config.yaml").write_text("task: [\n")  # not YAML
    assert latest_run("ratio") == Path("runs/a/1")
