"""YAML that would run code, read the environment, or fill the memory."""

import os
from pathlib import Path

import pytest

from lfiw import InputError
from lfiw.config import compose, load
from lfiw.files import read_yaml

ALIASES = "a: &a [x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)


def test_round_trip(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: {b: [1, 2.5, null, true, x]}\n3: 4\n")
    # what a scalar is, is for its key's type to say
    assert read_yaml(tmp_path / "a.yaml") == {"a": {"b": ["1", "2.5", "null", "true", "x"]}, "3": "4"}
    (tmp_path / "a.yaml").write_text("")
    assert read_yaml(tmp_path / "a.yaml") == {}
    with pytest.raises(FileNotFoundError):
        read_yaml(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: !!python/object/apply:os.system [touch run]", "could not determine a constructor for the tag"),
        ("a: !!python/name:os.system", "could not determine a constructor for the tag"),
        ("a: !!python/object/new:subprocess.Popen [[touch, run]]", "could not determine a constructor for the tag"),
        (ALIASES, "aliases .* are not supported"),
        ("a: &a [*a]", "aliases .* are not supported"),
        ("<<: *x", "aliases .* are not supported"),
        ("[" * 5000, "recursion"),
        ("a: !!int " + "9" * 5000, "digits"),
        ("a: !!timestamp 2001-99-99", "month"),
        ("[1, 2]", "expected keys and values, found list"),
        ("? [1]\n: 2", "unhashable"),
        ("a: b: c", "mapping values"),
        ("\x00", "special characters"),
    ],
)
def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(text)
    for reader in (lambda: read_yaml(Path("config.yaml")), lambda: load(Path("."))):
        with pytest.raises(InputError, match=told) as error:
            reader()
        assert "\n" not in str(error.value)
        assert "config.yaml" in str(error.value)
    assert os.listdir() == ["config.yaml"]


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InputError, match=r"cannot read .*config\.yaml"):
        load(tmp_path)


RESOLVERS = ("${oc.env:SECRET}", "${oc.decode:'1'}", "${seed}", "${oc.create:{a: 1}}", "a ${oc.env:SECRET,x} b")


@pytest.mark.parametrize("value", RESOLVERS)
def test_a_kept_configuration_computes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    composed = compose([])
    for key, text in (
        ("optimizer.schedule", composed.text.replace("schedule: constant", f'schedule: "{value}"')),
        ("experiment", composed.text.replace("experiment: digits", f'experiment: "{value}"')),
        ("evaluation.weightings", composed.text.replace("  - name: flatten 0.5", f'  - name: "{value}"')),
    ):
        assert value in text, key
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(InputError, match="interpolations are not supported") as error:
            load(tmp_path)
        assert "hunter2" not in str(error.value)
        assert str(error.value).startswith(key)


@pytest.mark.parametrize("value", RESOLVERS)
@pytest.mark.parametrize("key", ["data.folder", "run_dir", "evaluation.extractors"])
def test_nor_does_an_override(monkeypatch: pytest.MonkeyPatch, key: str, value: str) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    with pytest.raises(InputError) as error:
        compose([f"{key}={value}" if key != "evaluation.extractors" else f"{key}=['{value}']"])
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    "value", ["!!python/object/apply:os.system [touch run]", "!!python/name:os.system", "[" * 2000, "9" * 5000]
)
def test_tags_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        compose([f"run_dir={value}"])
    assert "\n" not in str(error.value)
    assert not os.listdir()
