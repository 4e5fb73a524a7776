"""Text stays text, whatever YAML would make of it; numbers, truth values and paths are read by their keys' types."""

import os
import pwd
import random
import string
from pathlib import Path

import pytest
import yaml

from lfiw import InputError
from lfiw.cli import Parser
from lfiw.config import compose, load, run_of
from lfiw.files import location_argument
from lfiw.schemas import WeightingSpec

# YAML 1.1 takes these for numbers, truth values, dates, nothing, or more than one value
ODD = ["0123", "12e4567", "1e5", "1_000", "12:30", "0x1F", "0b1", "no", "on", "YES", "true", "Null ", "2026-01-02", "=",
       ".5", "1.", "-.inf", ".nan", "a: b", "a #b", "[x", "{a: 1}", "- a", "@x", "`x`", "%x", "&x", "*x", "?", "| x",
       ">", "'", "it's", 'a"b', " a ", "é", "a,b", "\udcff", "tab\there", "two\nlines"]  # fmt: skip


def run_folder(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(text)
    return folder


@pytest.mark.parametrize("text", ODD)
def test_what_is_typed_for_a_text_key_is_its_value(text: str, tmp_path: Path) -> None:
    composed = compose([f"logger.project={text}", f"data.folder={text}", f"weighting={text}"])
    config = composed.config
    assert (config.logger.project, config.data.folder, config.weighting) == (text, text, text)
    assert load(run_folder(tmp_path, composed.text)).config == config
    assert yaml.safe_load(composed.text)["logger"]["project"] == text  # for other readers too


@pytest.mark.parametrize("text", [t for t in ODD[:13] if t == t.strip()])
def test_text_in_lists_and_weightings(text: str, tmp_path: Path) -> None:
    composed = compose(
        [f"evaluation.extractors=[{text}, pixels]", f"evaluation.weightings=[{{name: {text}, clip: 1}}]"]
    )
    evaluation = composed.config.evaluation
    assert evaluation.extractors == [text, "pixels"]
    assert evaluation.weightings == [WeightingSpec(text, clip=1.0)]
    assert load(run_folder(tmp_path, composed.text)).config == composed.config


@pytest.mark.parametrize("text", ["0123", "no", "2026-01-02", "12:30", "1e5"])
def test_text_in_a_file_that_a_user_wrote(text: str, tmp_path: Path) -> None:
    content = compose([]).text.replace("folder: cache", f"folder: {text}").replace("run_dir: null", f"run_dir: {text}")
    config = load(run_folder(tmp_path, content)).config
    assert (config.data.folder, config.run_dir) == (text, text)


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("seed=7", 7),
        ("seed=0123", 123),  # not octal
        ("seed=1_000", 1000),
        ("optimizer.lr=1e-3", 0.001),
        ("optimizer.lr=inf", float("inf")),
        ("optimizer.lr=.inf", float("inf")),
        ("trainer.progress=off", False),
        ("trainer.devices=2", 2),
        ("trainer.devices=auto", "auto"),
        ("run_dir=null", None),
        ("run_dir='null'", "null"),
        ('run_dir="a b"', "a b"),
        ("data.folder=null", "null"),
        ("logger.entity=~", "~"),
        ("data.keep=[1, 0.5,1,1,1,1,1,1,1,1e-1]", [1.0, 0.5, *[1.0] * 7, 0.1]),
    ],
)
def test_other_types(override: str, value: object, tmp_path: Path) -> None:
    composed = compose([override])
    found = composed.config
    for name in override.partition("=")[0].split("."):
        found = getattr(found, name)
    assert found == value
    assert type(found) is type(value)
    assert load(run_folder(tmp_path, composed.text)).config == composed.config


HOME = pwd.getpwuid(os.getuid())


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("~/runs/a", f"{HOME.pw_dir}/runs/a"),
        ("~", HOME.pw_dir),
        (f"~{HOME.pw_name}/x/", f"{HOME.pw_dir}/x"),
        ("./a//b/", "a/b"),
        ("../a b/", "../a b"),
        ("a/~/b", "a/~/b"),
        ("s3://bucket//a/", "s3://bucket//a/"),
    ],
)
def test_a_path_is_read_as_a_shell_reads_it(typed: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", HOME.pw_dir)
    config = compose([f"run_dir={typed}", f"data.folder={typed}", f"features.weights={typed}"]).config
    assert {config.run_dir, config.data.folder, config.features.weights} == {meant}
    assert compose([f"logger.project={typed}"]).config.logger.project == typed
    if "://" not in typed:
        assert run_of([f"run={typed}"], "run") == Path(meant)


def test_a_folder_whose_name_begins_as_a_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=r"run_dir=~nobody-here/x: there is no user 'nobody-here'.* is \./~nobody-here/x"
    ):
        compose(["run_dir=~nobody-here/x"])
    assert compose(["run_dir=./~nobody-here/x"]).config.run_dir == str(tmp_path / "~nobody-here/x")


def test_half_a_character_after_a_tilde_is_refused() -> None:
    with pytest.raises(InputError, match=r"^data\.folder='~\\ud800': no path has such characters"):
        compose(['data.folder="~\\ud800"'])


def test_a_run_that_is_named_by_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "run/checkpoints")
    assert run_of(["run=.."], "run") == tmp_path / "run"
    monkeypatch.chdir(tmp_path / "run")
    assert run_of(["run=."], "run") == tmp_path / "run"
    assert run_of(["data.x=run=1"], "run") is None


KEYS = ("run_dir", "data.folder", "weighting", "logger.entity", "seed", "optimizer.lr", "trainer.progress", "data.keep",
        "evaluation.weightings", "evaluation.extractors", "data.fractions", "trainer.devices", "model.name", "data",
        "data.keep.0", "seed.x.y", "a..b", "defaults", ".", "evaluation.weightings[0]")  # fmt: skip
PIECES = [*ODD, *"[]{}:,#&*!|>'\"%@`~?-\\\n \0", "name", "null", "!!int", "!!binary", "!!set", "!!timestamp", "${", "}"]


def odd_texts(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    letters = [*PIECES, *string.ascii_letters]
    return ["".join(draw.choices(letters, k=draw.randint(0, 5))) for _ in range(count)]


@pytest.mark.parametrize("count", [60, pytest.param(5000, marks=pytest.mark.slow)])
def test_odd_overrides_are_read_or_refused_in_one_line(count: int, tmp_path: Path) -> None:
    draw = random.Random(1)
    for text in odd_texts(count, 0):
        key = draw.choice(KEYS)
        try:
            composed = compose([f"{key}={text}"])
        except InputError:
            continue
        assert load(run_folder(tmp_path, composed.text)).config == composed.config, (key, text)
        if key in ("weighting", "logger.entity") and text[:1] not in ("'", '"') and text != "null":
            expected = None if key == "logger.entity" and not text else text
            assert {composed.config.weighting, composed.config.logger.entity} >= {expected}


@pytest.mark.parametrize("count", [60, pytest.param(5000, marks=pytest.mark.slow)])
def test_odd_files_are_read_or_refused_in_one_line(count: int, tmp_path: Path) -> None:
    lines = compose([]).text.splitlines(keepends=True)
    draw = random.Random(2)
    for text in odd_texts(count, 3):
        place = draw.randrange(len(lines))
        key, colon, _ = lines[place].partition(":")
        changed = [*lines[:place], f"{key}{colon} {text}\n" if colon else text, *lines[place + 1 :]]
        (tmp_path / "config.yaml").write_bytes("".join(changed).encode(errors="surrogateescape"))
        try:
            load(tmp_path)
        except InputError:
            continue


@pytest.mark.parametrize("subcommand", [False, True])
def test_the_arguments_of_tools_are_read_alike(subcommand: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", HOME.pw_dir)
    parser = Parser()
    command = parser.add_subparsers().add_parser("x") if subcommand else parser
    command.add_argument("--out", type=Path)
    command.add_argument("--cache", type=location_argument)
    words = ["x"] * subcommand
    found = parser.parse_args([*words, "--out=~/a/", "--cache", f"~{HOME.pw_name}/./b"])
    assert (found.out, found.cache) == (Path(HOME.pw_dir, "a"), f"{HOME.pw_dir}/b")
    assert parser.parse_args([*words, "--cache", "s3://bucket/~/"]).cache == "s3://bucket/~/"
    for argument in ("--out", "--cache"):
        with pytest.raises(InputError, match=f"argument {argument}: ~nobody-here: there is no user 'nobody-here'"):
            parser.parse_args([*words, argument, "~nobody-here"])


def test_one_word_is_a_list_of_one() -> None:
    pair = ["experiment=vectors", "data.real=a", "data.generated=b"]
    assert compose(pair).config.data.input == ["vector"]  # the experiment's file has the word
    assert compose([*pair, "data.input=features/a"]).config.data.input == ["features/a"]
    several = compose([*pair, "data.input=[image, features/timm:b]", "evaluation.extractors=timm:b"]).config
    assert several.data.input == ["image", "features/timm:b"]
    assert several.evaluation.extractors == ["timm:b"]
