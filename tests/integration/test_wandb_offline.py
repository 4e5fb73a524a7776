"""What an offline W&B run has kept on disk: the records that `wandb sync` sends. Nothing here reaches a network.

wandb's own reader is part of its Go program; the file is a LevelDB log of protocol buffers behind a header of 7 bytes.
"""

import json
import shutil
import struct

import pytest
from integration.launch import QUICK, launch, module
from wandb.proto import wandb_internal_pb2

HEADER, BLOCK = 7, 32_768
PIECE = struct.Struct("<IHB")  # checksum, length, kind
FULL, LAST = 1, 4


def records(folder):
    """The records of an offline run."""
    (file,) = folder.glob("*.wandb")
    content = file.read_bytes()
    assert content.startswith(b":W&B")
    place, found, pending = HEADER, [], b""
    while place < len(content):
        left = BLOCK - place % BLOCK
        if left < PIECE.size:  # too short for another piece: filled with zeros
            place += left
            continue
        _, length, kind = PIECE.unpack_from(content, place)
        place += PIECE.size
        pending += content[place : place + length]
        place += length
        if kind in (FULL, LAST):
            found.append(wandb_internal_pb2.Record.FromString(pending))
            pending = b""
    return found


def key_of(item):
    return item.key or ".".join(item.nested_key)


@pytest.fixture(scope="module")
def kept(digits):
    (folder,) = (digits.folder / "wandb").glob("offline-run-*")
    return records(folder)


def test_the_run(digits, kept):
    (run,) = (record.run for record in kept if record.HasField("run"))
    run_id = (digits.folder / "wandb_id.txt").read_text().strip()
    assert run.run_id == run_id
    assert run.project == "lfiw"
    assert run.display_name == f"digits/{digits.folder.name}"
    config = {key_of(item): item.value_json for item in run.config.update}
    for record in kept:
        if record.HasField("config"):
            config |= {key_of(item): item.value_json for item in record.config.update}
    assert json.loads(config["data"])["name"] == "digits"
    assert json.loads(config["trainer"])["max_epochs"] == 3
    assert json.loads(config["seed"]) == 0
    (ended,) = (record.exit for record in kept if record.HasField("exit"))
    assert ended.exit_code == 0


def test_the_history(digits, kept):
    rows = [{key_of(i): i.value_json for i in r.history.item} for r in kept if r.HasField("history")]
    losses = [json.loads(row["val/log_loss"]) for row in rows if "val/log_loss" in row]
    logged = [json.loads(line) for line in (digits.folder / "metrics.jsonl").read_text().splitlines()]
    assert losses == pytest.approx([line["val/log_loss"] for line in logged if "val/log_loss" in line], rel=1e-6)
    names = set().union(*rows)
    for weighting in digits.record["weightings"]:
        assert {f"test/{weighting['name']}/{metric}" for metric in ("fid", "kid", "ess")} <= names
    (score,) = (json.loads(row["test/uniform/fid"]) for row in rows if "test/uniform/fid" in row)
    assert score == pytest.approx(digits.record["weightings"][0]["metrics"]["fid"]["value"], rel=1e-6)


def test_table_pictures_and_histogram(digits, kept):
    media = {}
    for item in (i for r in kept if r.HasField("history") for i in r.history.item):
        if item.nested_key and item.nested_key[0].startswith("evaluation/"):
            name, inner = item.nested_key
            media.setdefault(name, {})[inner] = json.loads(item.value_json)
    assert media["evaluation/scores"]["_type"] == "table-file"
    assert media["evaluation/scores"]["nrows"] >= len(digits.record["weightings"])
    assert media["evaluation/log_ratio"]["_type"] == "histogram"
    pictures = {name for name, value in media.items() if value["_type"].startswith("images")}
    # the figures of the report, each once, and the sheet of its grids
    drawn = {name.removesuffix(".png") for name in digits.files if "/" not in name and name.endswith(".png")}
    assert pictures == {f"evaluation/{name}" for name in drawn}
    assert {"weights", "lorenz", "samples", "calibration", "training", "flattening_fid", "class_proportions"} <= drawn
    files = [name for name in digits.files if "/files/media/" in name]
    assert sum(name.endswith(".png") for name in files) == len(drawn)
    (table,) = (name for name in files if name.endswith(".table.json"))
    assert "self-normalised" in (digits.folder / table).read_text()


def test_an_evaluation_continues_the_run(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(digits.folder, tmp_path / "runs/digits/copy")
    weightings = "evaluation.weightings=[{name: third, flatten: 0.3}]"
    module("evaluate.py").evaluate([f"data.folder={digits.cwd / 'cache'}", "evaluation.figures=false", weightings])
    folders = sorted((tmp_path / "runs/digits/copy/wandb").glob("offline-run-*"))
    assert len(folders) == 2
    later = records(folders[-1])
    (run,) = (record.run for record in later if record.HasField("run"))
    assert run.run_id == (digits.folder / "wandb_id.txt").read_text().strip()
    assert any(key_of(i) == "test/third/fid" for r in later if r.HasField("history") for i in r.history.item)
    # a server takes both parts for one history, by their steps
    steps = [r.history.step.num for folder in folders for r in records(folder) if r.HasField("history")]
    assert steps == list(range(len(steps)))
    assert json.loads((tmp_path / "runs/digits/copy/evaluation-1.json").read_text()) == digits.record
    assert (tmp_path / "runs/digits/copy/report-1.html").read_bytes() == (digits.folder / "report.html").read_bytes()


@pytest.mark.parametrize("key", [{}, {"WANDB_API_KEY": "0" * 40}])
@pytest.mark.slow
def test_online_without_a_network(digits, tmp_path, key):
    """The run soon continues offline, and says so in one line."""
    arguments = ["trainer.max_epochs=1", f"data.folder={digits.cwd / 'cache'}", *QUICK[:-1], "logger.mode=online"]
    code, out, err = launch("train.py", *arguments, cwd=tmp_path, timeout=110, **key)
    assert code == 0, out + err
    assert "Traceback" not in err
    assert err.count("kept offline") == 1
    (folder,) = (tmp_path / "runs/digits").iterdir()
    assert (folder / "evaluation.json").is_file()
    offline = sorted((folder / "wandb").glob("offline-run-*"))
    assert any(record.HasField("history") for record in records(offline[-1]))
