"""conf/ and overrides → a checked configuration, and what is said of a mistake."""

import itertools
import json
import re
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import MISSING

from lfiw import InputError, schemas
from lfiw.config import CONF, Composed, choices_of, compose, help_text, load
from lfiw.generators.generative_module import HOMES
from lfiw.schemas import SCHEMAS, Config, MixedData, ToyCase, WeightingSpec, key

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
        ("logger.mode=ofline", r"^logger\.mode=ofline: expected one of auto, online, offline; did you mean offline\?"),
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


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.batch_size=0"], "data.batch_size=0 must be at least 1"),
        (["data.num_workers=-1"], "data.num_workers=-1 must be at least 0"),
        (["seed=-1"], "seed=-1 must lie in [0, 4294967295]"),
        (["seed=4294967296"], "seed=4294967296 must lie in [0, 4294967295]"),
        (["data.split_seed=-1"], "data.split_seed=-1 must lie in [0, 4294967295]"),
        (["folds=0"], "folds=0 must be at least 1"),
        (["data.bandwidth=0"], "data.bandwidth=0.0 must be above 0"),
        (["data.bandwidth=.nan"], "data.bandwidth=nan must be above 0"),
        (["data.keep=[1, 1.5]"], "data.keep[1]=1.5 must lie in [0, 1]"),
        (["data.keep=[.nan]"], "data.keep[0]=nan must lie in [0, 1]"),
        (["data.fractions.train=-0.1"], "data.fractions.train=-0.1 must lie in [0, 1]"),
        (["data.augment=spin"], "data.augment=spin: expected one of none, crop, crop_flip, flip, affine"),
        (["trainer.max_epochs=0"], "trainer.max_epochs=0 must be at least 1"),
        (["trainer.patience=-1"], "trainer.patience=-1 must be at least 0"),
        (["optimizer.ema_decay=1.5"], "optimizer.ema_decay=1.5 must lie in [0, 1)"),
        (["optimizer.betas=[0.5, 1]"], "optimizer.betas[1]=1.0 must lie in [0, 1)"),
        (["loss=relative", "loss.alpha=1"], "loss.alpha=1.0 must lie in (0, 1)"),
        (["model.depth=-1"], "model.depth=-1 must be at least 0"),
        (["evaluation.permutations=1"], "evaluation.permutations=1 must be 0 or at least 2"),
        (["evaluation.pair_rows=1"], "evaluation.pair_rows=1 must be 0 or at least 2"),
        (["evaluation.exponents=[0, .inf]"], "evaluation.exponents[1]=inf must be finite and at least 0"),
        (
            ["evaluation.weightings=[{name: a}, {name: b, clip: -1}]"],
            "evaluation.weightings[1].clip=-1.0 must be finite and at least 0",
        ),
        (["data=skewed", "data.cache=a", "data.keep=[1, 0]"], "data.keep[1]=0.0 must lie in (0, 1]"),
        (
            ["experiment=toy", "data.cases=[{name: a, means: [], scales: [0], proportions: [], valley: 1}]"],
            "data.cases[0].scales[0]=0.0 must be above 0",
        ),
        (["experiment=toy", "task.num_samples=[50, 9]"], "task.num_samples[1]=9 must be at least 10"),
        (["experiment=vae", "data.validation=1"], "data.validation=1.0 must lie in (0, 1)"),
        (["experiment=vae", "task.fid_samples=1"], "task.fid_samples=1 must be 0 or at least 2"),
        (["experiment=vae", "model.width=9"], "model.width=9 must be a positive multiple of 8"),
        (["experiment=pixelcnn", "model.levels=0"], "model.levels=0 must be at least 1"),
        (["experiment=sngan", "model.critic=good"], "model.critic=good: expected one of plain, projected"),
        (["experiment=omniglot", "data.shots=0"], "data.shots=0 must be at least 1"),
        (["experiment=omniglot", "task.coefficient=.nan"], "task.coefficient=nan must be finite and at least 0"),
        (["experiment=omniglot", "task.regimes=[both, bot]"], "task.regimes[1]=bot: expected one of real, generated"),
        (["experiment=omniglot_dagan", "task.width=0"], "task.width=0 must be a positive multiple of 8"),
        (["experiment=omniglot_dagan", "task.set_size=1"], "task.set_size=1 must be at least 2"),
        (["experiment=ope", "task.dynamics.width=0"], "task.dynamics.width=0 must be at least 1"),
        (["experiment=ope", "task.min_ess=0"], "task.min_ess=0.0 must lie in (0, 1]"),
        (["experiment=ope", "task.baselines=[is]"], "task.baselines[0]=is: expected one of importance_sampling"),
    ],
    ids=str,
)
def test_a_value_out_of_its_bounds(overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        compose(overrides)


@pytest.mark.parametrize(
    "override",
    [
        "evaluation.permutations=0",
        "optimizer.ema_decay=0",
        "data.keep=[0, 1]",
        f"seed={2**32 - 1}",
        "evaluation.exponents=[]",
    ],
)
def test_the_ends_of_the_bounds_are_allowed(override: str) -> None:
    compose([override])


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


REQUIRED_KEYS = [
    (schema, of.name)
    for schema in vars(schemas).values()
    if isinstance(schema, type) and is_dataclass(schema)
    for of in fields(schema)
    if of.default == MISSING
]
LISTS = {WeightingSpec: ("evaluation", "weightings"), ToyCase: ("data", "cases")}


@pytest.mark.parametrize(("schema", "name"), REQUIRED_KEYS, ids=lambda of: getattr(of, "__name__", of))
def test_a_missing_value_is_named_with_its_meaning_and_remedy(schema: type, name: str, tmp_path: Path) -> None:
    """Every key without a default, of every data set, left out while all others are given."""
    run = keep(compose(["experiment=toy"]), tmp_path)
    content = yaml.safe_load((run / "config.yaml").read_text())
    if schema in LISTS:
        group, key_of_list = LISTS[schema]
        del content[group][key_of_list][0][name]
        full, remedy = f"{group}.{key_of_list}[0].{name}", f"{group}.{key_of_list}=[{{{name}: …}}, …]"
    else:
        word = next(of.default for of in fields(schema) if of.name == "name")
        others = {other: "cache/a" for of, other in REQUIRED_KEYS if of is schema and other != name}
        content["data"] = {"name": word, **others}
        full, remedy = f"data.{name}", f"data.{name}=…"
    (run / "config.yaml").write_text(yaml.safe_dump(content))
    meaning = next(of.metadata["help"] for of in fields(schema) if of.name == name)
    with pytest.raises(InputError) as error:
        load(run)
    assert str(error.value) == f"{full}: a value is required: {meaning}; give {remedy}"


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


@pytest.mark.parametrize(
    ("experiment", "override", "was"),
    [
        ("digits", "data.split_seed=1", "0"),
        ("digits", "data.fractions.train=0.3", "0.4"),
        ("digits", "data.keep=[1,1,1,1,1,1,1,1,1,1]", "[1.0,1.0,"),
        ("digits", "folds=2", "1"),
        ("digits", "ensemble=2", "1"),
        ("vae", "data.validation=0.5", "0.02"),
        ("omniglot", "data.test_shots=2", "10"),
    ],
)
def test_a_finished_run_keeps_its_splits(experiment: str, override: str, was: str, tmp_path: Path) -> None:
    name = override.partition("=")[0]
    with pytest.raises(InputError, match=f"^{re.escape(f'{name}: the run was trained with {was}')}"):
        load(keep(compose([f"experiment={experiment}"]), tmp_path), [override])
    assert load(tmp_path, ["data.split_seed=0", "data.batch_size=2"]).config.data.batch_size == 2


def test_a_new_data_set_says_which_of_its_keys_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass
    class Halves(MixedData):
        name: str = key("halves", "kind of data")
        every: int = key(2, "rows between two that are held out", splits=True)
        shown: int = key(3, "rows to show")

    monkeypatch.setitem(SCHEMAS["data"], "halves", Halves)
    run = keep(compose(["data.name=halves"]), tmp_path)
    with pytest.raises(InputError, match=r"^data\.every: the run was trained with 2 "):
        load(run, ["data.every=4"])
    assert load(run, ["data.shown=4"]).config.data.shown == 4


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


@pytest.mark.parametrize("experiment", choices_of("experiment"))
def test_every_experiments_help_needs_no_data(experiment: str) -> None:
    lines = [line.split() for line in help_text([f"experiment={experiment}"]).splitlines()]
    required = {words[0].removesuffix("=REQUIRED") for words in lines if words and words[0].endswith("=REQUIRED")}
    own = {"data.real", "data.generated"} if experiment in ("images", "vectors") else set()
    assert required == own


def test_help_shows_what_a_value_may_be() -> None:
    text = help_text([])
    for name, ending in (
        ("data.batch_size=256", "(at least 1)"),
        ("data.fractions.train=0.4", "(in [0, 1])"),
        ("optimizer.ema_decay=0.0", "(in [0, 1))"),
        ("evaluation.permutations=10", "(0 or at least 2)"),
        ("calibration=none", ": none, temperature, beta, isotonic"),
    ):
        (line,) = [line for line in text.splitlines() if line.split()[:1] == [name]]
        assert line.endswith(ending)


def test_a_value_in_the_manual_can_be_given_back() -> None:
    words = [line.split()[0] for line in help_text([]).splitlines() if line.startswith("  ")]
    overrides = [
        word for word in words if "=" in word and not word.startswith(("evaluation.weightings=", "experiment="))
    ]
    assert len(overrides) > 40
    assert compose(overrides).config == compose([]).config
