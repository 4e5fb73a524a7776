"""tools/cache_features.py: columns by a function, from a file, and by networks; nothing else runs a user's code."""

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from integration.launch import QUICK, module, refused

from lfiw.data import CacheWriter, SampleCache
from lfiw.data.cache.column_writer import ColumnWriter

ROWS = 60
CODE = """
import numpy as np, pathlib
def rows(batch):
    with open("called.txt", "a") as file:
        file.write(f"{len(batch)} ")
    if pathlib.Path("stop").exists() and len(pathlib.Path("called.txt").read_text().split()) > 3:
        raise KeyboardInterrupt
    return batch.flatten(1).numpy()[:, :3] / np.float32(7)
def wrong(batch):
    return batch
def fails(batch):
    raise ValueError("not today")
"""
RUN = ["data=cached", "data.real=real", "data.generated=generated", "trainer.max_epochs=1", "model.width=4", *QUICK]
RUN += [
    "evaluation.balance=false",
    "evaluation.intervals=false",
    "evaluation.permutations=0",
    "trainer.accelerator=cpu",
]


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("real", "generated"):
        with CacheWriter(tmp_path / name, source={}) as writer:
            writer.write({"image": torch.from_numpy(rng.integers(0, 256, (ROWS, 3, 8, 8), dtype=np.uint8))})
    Path("own.py").write_text(CODE)


def add(*arguments: str) -> None:
    module("tools/cache_features.py").main(list(arguments))


def called() -> list[int]:
    return [int(word) for word in Path("called.txt").read_text().split()]


def test_a_function_of_a_file_and_a_run_that_does_not_run_it(capsys: pytest.CaptureFixture[str]) -> None:
    add("callable", "own.py:rows", "--name", "own", "--cache", "real", "generated", "--batch-size", "20")
    assert "features/own added, 60 rows of 3 numbers" in capsys.readouterr().out
    assert called() == [20] * 6
    cache = SampleCache("generated")
    expected = cache["image"].flatten(1).numpy()[:, :3] / np.float32(7)
    np.testing.assert_array_equal(cache["features/own"], expected)
    stamp = cache.column("features/own").stamp
    assert stamp["sha256"] == hashlib.sha256(CODE.encode()).hexdigest()
    add("callable", "own.py:rows", "--name", "own", "--cache", "real", "generated")
    assert "features/own already there" in capsys.readouterr().out
    Path("own.py").write_text("raise SystemExit('this code was run')")
    options = ["evaluation.extractors=[own, pixels]", "data.input=features/own", "run_dir=runs/r"]
    _, objects = module("train.py").train([*RUN, *options, "metrics.inception_score.classifier=null"])
    assert len(called()) == 6
    assert [e["name"] for e in objects["record"]["extractors"]] == ["own", "pixels"]
    assert objects["record"]["extractors"][0]["sha256"] == stamp["sha256"]
    assert objects["classifier"].spec["column"] == "features/own"
    # other code is another column: it is computed again
    Path("own.py").write_text(CODE + "\n")
    add("callable", "own.py:rows", "--name", "own", "--cache", "real")
    assert sum(called()) == 3 * ROWS


def test_a_stopped_extraction_resumes(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("stop").touch()
    monkeypatch.setattr("lfiw.features.extraction.ColumnWriter", partial(ColumnWriter, part_seconds=0.0))
    command = ["callable", "own.py:rows", "--name", "own", "--cache", "real", "--batch-size", "10"]
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        add(*command)
    assert called() == [10] * 4
    assert SampleCache("real").columns == ("image",)
    Path("stop").unlink()
    add(*command)
    assert called() == [10] * 7  # the three that were written are not computed again
    cache = SampleCache("real")
    np.testing.assert_array_equal(cache["features/own"], cache["image"].flatten(1).numpy()[:, :3] / np.float32(7))


def test_an_array_whose_rows_are_the_caches(capfd: pytest.CaptureFixture[str]) -> None:
    values = np.random.default_rng(1).normal(size=(ROWS, 4)).astype(np.float32)
    np.savez("f.npz", clip=values, text=np.arange(3))
    add("npz", "f.npz", "--name", "clip", "--key", "clip", "--cache", "real")
    np.testing.assert_array_equal(SampleCache("real")["features/clip"], values)
    np.save("short.npy", values[:7])
    values[3, 1] = np.nan
    np.save("nan.npy", values)
    tool = "tools/cache_features.py"
    assert "expected (60, d) numbers, one row for each of" in refused(
        capfd, tool, "npz", "short.npy", "--name", "x", "--cache", "real"
    )
    assert "row 3 has NaN" in refused(capfd, tool, "npz", "nan.npy", "--name", "x", "--cache", "real")
    assert "npz takes one cache" in refused(
        capfd, tool, "npz", "nan.npy", "--name", "x", "--cache", "real", "generated"
    )
    told = refused(capfd, "train.py", *RUN, "evaluation.extractors=[clip]")
    assert "extractor clip: generated has no column 'features/clip'" in told.replace(f"{Path.cwd()}/", "")


def test_a_network_of_timm_and_a_run_that_takes_it() -> None:
    net = timm.create_model("test_efficientnet")
    torch.save(net.state_dict(), "w.pth")
    files = "features.files=[timm:test_efficientnet=w.pth]"
    options = ["evaluation.extractors=[pixels, timm:test_efficientnet]", "metrics.inception_score.classifier=null"]
    add("timm", "test_efficientnet", "--weights", "w.pth", "--cache", "real", "generated", "--batch-size", "30")
    (column,) = [name for name in SampleCache("real").columns if name.startswith("features/")]
    assert column.startswith("features/timm-test_efficientnet-")
    _, objects = module("train.py").train([*RUN, *options, files, "data.input=features/timm-test_efficientnet"])
    assert objects["classifier"].spec["column"] == column
    assert "fid@timm-test_efficientnet" in objects["record"]["weightings"][0]["metrics"]


def test_mistakes_are_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    tool, cache = "tools/cache_features.py", ("--cache", "real")
    for arguments, told in (
        (["callable", "own.py:none", "--name", "x"], "own.py has no function 'none'"),
        (["callable", "none.py:rows", "--name", "x"], "none.py: no such file"),
        (["callable", "os.path:join", "--name", "x"], "'os.path:join': expected FILE.py:FUNCTION"),
        (["callable", "own.py:wrong", "--name", "x"], "the function returned (60, 3, 8, 8), expected (60, d)"),
        (["callable", "own.py:fails", "--name", "x"], "the function failed: not today"),
        (["callable", "own.py:rows", "--name", "inception"], "this is the name of a built-in extractor"),
        (["callable", "own.py:rows", "--name", "../x"], "cannot name a column"),
        (["timm", "test_efficientnet"], "no weights, and none are downloaded: expected"),
        (["torchvision", "nothing"], "torchvision has no such classifier"),
    ):
        assert told in refused(capfd, tool, *arguments, *cache)
    assert not [name for name in SampleCache("real").columns if name != "image"]
