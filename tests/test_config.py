"""conf/ and overrides → a checked configuration, and what is said of a mistake."""

import itertools
import json
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lfiw import InputError
from lfiw.config import CONF, Composed, choices_of, compose, help_text, load
from lfiw.generators.module import HOMES
from lfiw.schemas import SCHEMAS, Config, WeightingSpec

GROUP_CHOICES = [(group, choice) for group in ("experiment", *SCHEMAS) for choice in choices_of(group)]


def keep(composed: Composed, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(composed.text)
    return folder


def test_every_file_of_conf_is_a_choice() -> None:
    files = {file.relative_to(CONF) for file in CONF.rglob("*.yaml")}
    assert files == {Path("train.yaml"), *(Path(group) / f"{choice}.yaml" for group, choice in GROUP_CHOICES)}


@pytest.mark.parametrize(("group", "choice"), GROUP_CHOICES, ids="=".join)
def test_every_choice_composes(group: str, choice: str) -> None:
    caches = ["data.real=a", "data.generated=b"] if choice in ("cached", "images", "vectors") else []
    if (group, choice) == ("data", "skewed"):
        caches = ["data.cache=a"]
    if (group, choice) == ("data", "real"):
        caches = ["data.real=a"]
    trained = group == "model" and choice in HOMES  # the default experiment pins keys of classifiers
    composed = compose([f"{group}={choice}", *caches, *(["experiment=vae"] if trained else [])])
    assert composed.config.experiment == (choice if group == "experiment" else "vae" if trained else "digits")
    if group != "experiment":
        assert composed.choices[group] == choice
        written = yaml.safe_load((CONF / group / f"{choice}.yaml").read_text()) or {}
        if "name" in written:
            assert getattr(composed.config, group).name == written["name"]


@pytest.mark.parametrize("experiment", choices_of("experiment"))
def test_config_yaml_gives_the_same_configuration_again(experiment: str, tmp_path: Path) -> None:
    composed = compose(
        [f"experiment={experiment}", *["data.real=a", "data.generated=b"] * (experiment in ("images", "vectors"))]
    )
    again = load(keep(composed, tmp_path))
    assert again.config == composed.config
    assert again.text == composed.text
    assert "${" not in composed.text


@settings(deadline=None, max_examples=30)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12))
def test_any_text_survives_config_yaml(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    try:
        composed = compose([f"data.folder={json.dumps(text)}"])  # a quoted scalar
    except InputError:  # what YAML cannot carry, and interpolations
        return
    assert load(keep(composed, tmp_path_factory.mktemp("run"))).config == composed.config


def test_the_default_is_digits_offline() -> None:
    config = compose([]).config
    assert (config.experiment, config.task.name, config.data.name, config.logger.mode) == (
        "digits",
        "ratio",
        "digits",
        "auto",
    )
    assert isinstance(config, Config)


def test_later_layers_win(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """schema < group file < experiment < group choice on the command line (which file) < value on the command line."""
    for group in ("experiment", *SCHEMAS):
        (tmp_path / group).mkdir()
        for choice in choices_of(group):
            (tmp_path / group / f"{choice}.yaml").write_text((CONF / group / f"{choice}.yaml").read_text())
    (tmp_path / "train.yaml").write_text((CONF / "train.yaml").read_text())
    (tmp_path / "optimizer" / "fast.yaml").write_text("{lr: 0.5, weight_decay: 0.25, schedule: cosine}")
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "{defaults: {data: digits, optimizer: fast, model: conv4}, optimizer: {weight_decay: 0.125}, seed: 5}"
    )
    monkeypatch.setattr("lfiw.config.CONF", tmp_path)
    config = compose(["experiment=mine"]).config
    assert vars(config.optimizer) == {
        "lr": 0.5,  # group file over schema
        "betas": [0.9, 0.999],  # schema
        "weight_decay": 0.125,  # experiment over group file
        "schedule": "cosine",
        "ema_decay": 0.0,  # schema
        "compile": False,
    }
    assert (config.model.name, config.seed, config.trainer.max_epochs) == ("conv4", 5, 40)
    config = compose(["experiment=mine", "optimizer=adamw", "model=mlp", "optimizer.weight_decay=1", "seed=6"]).config
    assert (config.optimizer.lr, config.optimizer.weight_decay, config.model.name, config.seed) == (0.001, 1, "mlp", 6)


def test_order_on_the_command_line_of_groups_and_values_is_irrelevant() -> None:
    overrides = ["experiment=toy", "model=mlp", "model.width=7", "seed=3"]
    configs = [compose(order).config for order in itertools.permutations(overrides)]
    assert all(config == configs[0] for config in configs)
    assert configs[0].model.width == 7


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lrr=1", r"^optimizer\.lrr: no such key, did you mean optimizer\.lr\?"),
        ("optimzer.lr=1", r"^optimzer: no such key, did you mean optimizer\?"),
        ("lr=1", "did you mean optimizer.lr?"),
        ("sed=1", r"^sed: no such key, did you mean seed\?"),
        ("data.fractions.trian=1", "did you mean data.fractions.train?"),
        (
            "data=digit",
            r"^data=digit: no such choice, did you mean digits\?; choices: cached, digits, omniglot, policies, real",
        ),
        ("experiment=digit", r"^experiment=digit: no such choice, did you mean digits\?; choices:"),
        ("model.name=resent", r"^model\.name=resent: no such name, did you mean resnet\?; names: mlp, conv4, resnet"),
        ("model.name=[1]", r"^model\.name=\[1\]: no such name"),
        ("logger.mode=ofline", r"^logger\.mode=ofline, did you mean offline\?; choices: auto, online, offline"),
        ("data=../data/digits", "no such choice"),
    ],
)
def test_an_unknown_word_names_the_nearest(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        compose([override])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("optimizer.lr=fast", "optimizer.lr: "),
        ("optimizer.lr=null", "optimizer.lr: "),
        ("trainer.max_epochs=1.5", "trainer.max_epochs: "),
        ("trainer.devices=1.5", "trainer.devices: "),
        ("seed=abc", "seed: "),
        ("seed.x=1", "seed: "),
        ("data.keep=half", "data.keep: "),
        ("data.keep.3=1", "data.keep.3: data.keep is a list"),
        ("data.fractions=3", "data.fractions=3: this is a group of keys"),
        ("data.fractions=null", "data.fractions: "),
        ("evaluation.weightings=3", "evaluation.weightings: "),
        ("evaluation.weightings=[3]", "evaluation.weightings[0]: "),
        ("evaluation.weightings={name: x}", "evaluation.weightings.name: evaluation.weightings is a list"),
        ("evaluation.weightings=[{nme: x}]", "nme"),
        ("evaluation.weightings=[{flatten: 0.5}]", "evaluation.weightings[0].name: "),
        ("evaluation.weightings=[{name: x, flatten: abc}]", "flatten"),
        ("data=cached", "data.real: "),
    ],
)
def test_a_value_of_the_wrong_type_names_its_key(override: str, key: str) -> None:
    with pytest.raises(InputError) as error:
        compose([override])
    assert key in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("override", ["seed", "=3", "", "seed 3", "data.keep=[1,2", "data.real=${", "seed=*a"])
def test_what_cannot_be_read(override: str) -> None:
    with pytest.raises(InputError, match="cannot read"):
        compose([override])


@pytest.mark.parametrize(
    "override",
    [
        "optimizer.lr=${seed}",
        "data.folder=${oc.env:HOME}",
        "data.folder=a${seed}b",
        "evaluation.extractors=['${seed}']",
        "evaluation.weightings=[{name: '${seed}'}]",
    ],
)
def test_interpolations_are_refused(override: str) -> None:
    with pytest.raises(InputError, match="interpolations are not supported"):
        compose([override])


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system [exit]", "!!python/name:os.system ''", "!mine 3"])
def test_yaml_tags_are_refused(tag: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        compose([f"data.folder={tag}"])
    (tmp_path / "config.yaml").write_text(f"data: {{name: toy}}\nrun_dir: {tag}\n")
    with pytest.raises(InputError, match="cannot read") as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


def test_lists_of_dataclasses() -> None:
    config = compose(["evaluation.weightings=[{name: a, flatten: 0.5}, {name: b, smooth: true}]"]).config
    assert config.evaluation.weightings == [WeightingSpec("a", flatten=0.5), WeightingSpec("b", smooth=True)]
    cases = compose(["experiment=toy"]).config.data.cases
    assert [case.name for case in cases] == ["1d", "2d"]
    assert cases[1].means == [[-1.5, -0.5], [1.5, 0.5]]
    assert len(compose([]).config.evaluation.weightings) == 9


def test_defaults_are_not_shared() -> None:
    first = compose([]).config
    first.data.keep[0] = 0.0
    first.evaluation.weightings.clear()
    assert compose([]).config.data.keep[0] == 1.0
    assert len(compose([]).config.evaluation.weightings) == 9


def test_load_with_overrides(tmp_path: Path) -> None:
    run = keep(compose(["seed=3", "model.width=16"]), tmp_path)
    config = load(run, ["evaluation.paper=true", "resume=here"]).config
    assert (config.seed, config.model.width, config.evaluation.paper, config.resume) == (3, 16, True, "here")


@pytest.mark.parametrize("override", ["model=conv4", "data=toy", "experiment=toy"])
def test_a_finished_run_keeps_its_groups(override: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"^{override}: a finished run keeps its groups"):
        load(keep(compose([]), tmp_path), [override])


@pytest.mark.parametrize(
    "content", ["- 1\n", "just text", "a: [", "{1: 2}", "data: 3", "data: {name: [a]}", b"\xff\xfe"]
)
def test_a_broken_config_yaml(content: str | bytes, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("override", ["data.split_seed=1", "data.fractions.train=0.3"])
def test_a_finished_run_keeps_its_splits(override: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the run was trained with"):
        load(keep(compose([]), tmp_path), [override])


def test_not_a_run_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not a run folder: it has no config\.yaml"):
        load(tmp_path)
    with pytest.raises(InputError, match="is not a run folder"):
        load(tmp_path / "missing")


def leaves(node: object, prefix: str = "") -> list[str]:
    names = []
    for f in fields(node):  # type: ignore[arg-type]
        value = getattr(node, f.name)
        names += leaves(value, f"{prefix}{f.name}.") if is_dataclass(value) else [f"{prefix}{f.name}"]
    return names


@pytest.mark.parametrize("overrides", [[], ["experiment=toy"], ["model=resnet"]], ids=str)
def test_help_lists_every_group_choice_and_key(overrides: list[str]) -> None:
    text = help_text(overrides)
    composed = compose(overrides)
    lines = [line.split() for line in text.splitlines()]
    for group in ("experiment", *SCHEMAS):
        (line,) = [words for words in lines if words[:1] == [group]]
        assert [word.strip("[]") for word in line[1:]] == choices_of(group)
        chosen = composed.config.experiment if group == "experiment" else composed.choices[group]
        assert f"[{chosen}]" in line
    told = [words[0].partition("=")[0] for words in lines if words and "=" in words[0]]
    assert told == leaves(composed.config)
    assert "data.real" in help_text(["data=cached", "data.real=a", "data.generated=b"])


def test_a_value_in_the_manual_can_be_given_back() -> None:
    words = [line.split()[0] for line in help_text([]).splitlines() if line.startswith("  ")]
    overrides = [
        word for word in words if "=" in word and not word.startswith(("evaluation.weightings=", "experiment="))
    ]
    assert len(overrides) > 40
    assert compose(overrides).config == compose([]).config
