"""The cache scripts, run as a user runs them."""

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lfiw import InputError
from lfiw.cli import run_script
from lfiw.data import CacheWriter, SampleCache

ROOT = Path(__file__).parents[2]
IMAGES = np.random.default_rng(0).uniform(-1, 1, (50, 8, 8, 3)).astype(np.float32)


def run(script, *arguments, cwd):
    return subprocess.run(
        [sys.executable, "-W", "error", ROOT / "tools" / script, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def refused(script, *arguments, cwd):
    """Runs with a mistake → the one line that says so."""
    done = run(script, *arguments, cwd=cwd)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_samples_from_an_array_file(tmp_path):
    np.savez(tmp_path / "samples.npz", images=IMAGES, labels=np.arange(50) % 3)
    done = run("cache_samples.py", "npz", "samples.npz", "--out", "cache/mine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    cache = SampleCache(tmp_path / "cache/mine")
    assert "cache/mine: 50 rows, image uint8 [3, 8, 8], label int64 []" in done.stdout
    assert "layout NHWC, detected" in done.stdout
    assert "float32 in [-1, 1], detected (found -0.99" in done.stdout
    assert cache.identity[:12] in done.stdout
    expected = np.rint((IMAGES.transpose(0, 3, 1, 2).astype(float) + 1) * 127.5)
    assert np.abs(cache["image"].numpy() - expected).max() <= 1  # float32 may fall on the other side of a half
    assert (cache["image"].numpy() == expected).mean() > 0.999
    assert cache["label"].tolist() == [row % 3 for row in range(50)]
    assert cache.source["file"] == "samples.npz"
    cache.verify()

    message = refused("cache_samples.py", "npz", "samples.npz", "--out", "cache/mine", cwd=tmp_path)
    assert "cache/mine: exists already" in message
    assert "--overwrite" in message


def test_digits_and_files_that_are_there_already(tmp_path):
    done = run("cache_dataset.py", "digits", "--out", "cache/digits", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1,797 rows, image uint8 [1, 8, 8], label int64 []" in done.stdout
    assert SampleCache(tmp_path / "cache/digits").source["dataset"] == "digits"
    assert sorted(entry.name for entry in (tmp_path / "cache").iterdir()) == ["digits"]


def test_a_data_set_goes_to_a_url_too(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    out = tmp_path / "bucket" / "mine"
    np.save(tmp_path / "a.npy", IMAGES)
    arguments = ["npz", str(tmp_path / "a.npy"), "--out"]
    assert run_script(main_of("cache_dataset"), [*arguments, f"file://{out}"]) == 0
    assert f"file://{out}: 50 rows, image uint8 [3, 8, 8]" in capsys.readouterr().out
    assert run_script(main_of("cache_samples"), [*arguments, str(tmp_path / "here")]) == 0
    assert SampleCache(out).identity == SampleCache(tmp_path / "here").identity
    assert run_script(main_of("cache_dataset"), [*arguments, f"file://{out}"]) == 2
    assert "exists already" in capsys.readouterr().err


def test_mistakes_end_with_one_line(tmp_path, capsys):
    np.savez(tmp_path / "two.npz", a=IMAGES, b=IMAGES)
    arguments = ["npz", str(tmp_path / "two.npz"), "--out", str(tmp_path / "o")]
    assert run_script(main_of("cache_samples"), arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert "--key NAME, one of: a" in told.err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("script", ["cache_samples.py", "cache_dataset.py"])
def test_help_comes_at_once(tmp_path, script):
    started = time.perf_counter()
    done = run(script, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "npz" in done.stdout
    assert "folder" in done.stdout
    assert time.perf_counter() - started < 2
    assert run(script, "npz", "--help", cwd=tmp_path).returncode == 0
    done = run(script, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the following arguments are required: SOURCE")
    assert done.stderr.count("\n") == 1


def main_of(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_a_folder_with_classes(tmp_path, capsys):
    for number in range(4):
        file = tmp_path / f"images/{'ab'[number % 2]}/{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((IMAGES[number] * 127 + 128).astype(np.uint8)).save(file)
    arguments = ["folder", str(tmp_path / "images"), "--size", "4", "--out", str(tmp_path / "mine"), "--shard-mb", "1"]
    assert run_script(main_of("cache_dataset"), arguments) == 0
    told = capsys.readouterr().out
    assert "2 classes: a, b" in told
    assert "resized to 4 × 4" in told
    assert SampleCache(tmp_path / "mine")["label"].tolist() == [0, 0, 1, 1]


def test_what_is_missing_is_told(tmp_path, capsys):
    out = ["--out", str(tmp_path / "mine")]
    assert run_script(main_of("cache_dataset"), ["folder", str(tmp_path / "none"), *out]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}/none: no such folder\n"
    assert run_script(main_of("cache_dataset"), ["npz", str(tmp_path / "none.npz"), "--debug", *out]) == 2
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert told.splitlines()[-1] == f"error: {tmp_path}/none.npz: no such file"
    np.save(tmp_path / "a.npy", IMAGES)
    assert run_script(main_of("cache_dataset"), ["npz", str(tmp_path / "a.npy"), "--out", "/proc/none/mine"]) == 2
    assert capsys.readouterr().err.startswith("error: /proc/none/mine: cannot write there")
    assert run_script(main_of("cache_dataset"), ["mnist", "--split", "both", *out]) == 2
    assert "--split" in capsys.readouterr().err
    assert run_script(main_of("cache_dataset"), ["folder", str(tmp_path / "a.npy"), *out]) == 2
    assert capsys.readouterr().err.startswith(
        f"error: {tmp_path}/a.npy: no such folder: it is a file; an .npz file goes"
    )


def test_in_process_with_every_option(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.full((6, 3, 4, 3), 0.25))
    main = main_of("cache_samples")
    arguments = ["npz", str(tmp_path / "a.npy"), "--out", str(tmp_path / "mine")]
    assert run_script(main, arguments) == 2
    assert "give --layout nchw or nhwc" in capsys.readouterr().err
    assert run_script(main, [*arguments, "--layout", "nchw", "--range", "signed"]) == 0
    assert SampleCache(tmp_path / "mine")["image"].unique().tolist() == [159]
    assert run_script(main, [*arguments, "--layout", "nhwc", "--overwrite"]) == 0
    assert SampleCache(tmp_path / "mine").column("image").shape == (3, 3, 4)
    assert SampleCache(tmp_path / "mine")["image"].unique().tolist() == [64]


def test_names_that_are_not_utf8(tmp_path, capsys):
    """As an old disk has them: of the folder and of a class."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9"))
    (folder / "\udce8").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(folder / "\udce8/1.png")
    assert run_script(main_of("cache_dataset"), ["folder", str(folder), "--out", str(tmp_path / "mine")]) == 0
    assert "1 classes: \\xe8\n" in capsys.readouterr().out
    source = SampleCache(tmp_path / "mine").source
    assert (source["folder"], source["classes"]) == ("\\xe9", ["\\xe8"])
    assert run_script(lambda arguments: print("caf\udce9"), []) == 0
    assert capsys.readouterr().out == "caf\\udce9\n"


def test_nothing_but_a_cache_is_overwritten(tmp_path, capsys):
    np.save(tmp_path / "a.npy", IMAGES)
    arguments = ["npz", str(tmp_path / "a.npy"), "--out", str(tmp_path), "--overwrite"]
    assert run_script(main_of("cache_samples"), arguments) == 2
    assert "holds a.npy, so it is no cache" in capsys.readouterr().err


def test_how_a_script_ends(capsys):
    def fail(arguments):
        raise InputError("two\nlines")

    def interrupt(arguments):
        raise KeyboardInterrupt

    assert run_script(lambda arguments: arguments, ["a"]) == 0
    assert run_script(fail, []) == 2
    assert capsys.readouterr().err == "error: two lines\n"
    assert run_script(interrupt, []) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert run_script(interrupt, [], resumes=True) == 130
    assert capsys.readouterr().err == "interrupted: run the same command again to resume\n"
    assert run_script(fail, ["--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):
        run_script(lambda arguments: 1 / 0, [])


def test_a_cache_written_here_is_read_by_the_library_and_back(tmp_path):
    with CacheWriter(tmp_path / "mine") as writer:
        writer.write({"image": torch.zeros(3, 1, 2, 2, dtype=torch.uint8)})
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from safetensors.numpy import load_file; print(load_file(sys.argv[1])['image'].shape)",
            str(tmp_path / "mine/data/00000-00000.safetensors"),
        ],
        capture_output=True,
        text=True,
    )
    assert done.stdout == "(3, 1, 2, 2)\n"


def test_the_first_rows_alone(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.arange(50, dtype=np.float32)[:, None].repeat(3, 1))
    arguments = ["npz", str(tmp_path / "a.npy"), "--out", str(tmp_path / "mine"), "--first"]
    for wrong in ("51", "0"):
        assert run_script(main_of("cache_dataset"), [*arguments, wrong]) == 2
        assert f"--first {wrong}: expected 1 … 50" in capsys.readouterr().err
    assert run_script(main_of("cache_dataset"), [*arguments, "20"]) == 0
    cache = SampleCache(tmp_path / "mine")
    assert cache["vector"][:, 0].tolist() == list(range(20))
    assert cache.source["first"] == 20
