"""conf/ + overrides → a checked configuration.

A configuration is composed of one file per group of conf/ (`data=digits` takes conf/data/digits.yaml), then the file of
conf/experiment that `experiment=` names, then the `a.b=c` overrides; later values win. Every key is checked against
`lfiw.schemas`, whose types determine how a value is read: text stays as typed (`0123`, `no`, `12:30`). Relative paths,
including those in a run's config.yaml, are relative to the folder where a script is started. Interpolations (`${…}`)
are not supported: a configuration is data and computes nothing.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import Field, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

import yaml
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from lfiw.errors import InputError, first_line, nearest
from lfiw.files import Plain, parse_yaml, read_yaml, user_location, user_run, yaml_problem
from lfiw.schemas import SCHEMAS, Config, Run, check_values, in_words

NULLS = ("null", "Null", "NULL", "")
DOTTED = re.compile(r"([+-]?)\.(inf|nan)", re.IGNORECASE)  # YAML's infinity, which Python writes without a dot


class Override(str):
    """A value as typed on the command line."""


def typed_fields(values: Any, schema: type, prefix: str = "") -> Any:
    """Reads a dictionary's values by the types of a schema's keys; unknown keys stay as they are.

    Raises:
        InputError: a value cannot be read, or cannot be a path.
    """
    if not isinstance(values, dict):
        return typed(prefix.rstrip("."), values, schema)
    known = {f.name: f for f in fields(schema)}
    return {
        str(name): typed(f"{prefix}{name}", value, known[name].type, known[name]) if name in known else as_text(value)
        for name, value in values.items()
    }


def typed(name: str, value: Any, kind: Any, of: Field[Any] | None = None) -> Any:
    """Reads a value of one type.

    Text stays as it is, also in lists and in a schema's dictionaries; quotes around the whole are YAML's. `null`, and
    `~` in files, is None if the type allows it. Numbers and booleans are passed to OmegaConf as text, which reads them
    as Python does.

    Args:
        name: the key's, in messages.
        of: the key's field.
    """
    alternatives = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if str in alternatives:
        optional = NoneType in alternatives
        if isinstance(value, Plain) and (value == "" or (optional and value in (*NULLS, "~"))):
            return None
        if isinstance(value, Override):
            if optional and value in NULLS:
                return None
            value = unquoted(name, value)
        if int in alternatives:
            return number_or_text(value)
        return path_of(name, value) if of and of.metadata.get("path") and isinstance(value, str) else as_text(value)
    if isinstance(value, Override):
        value = parsed(name, value)
    if isinstance(value, dict) and is_dataclass(kind):
        assert isinstance(kind, type)
        return typed_fields(value, kind, f"{name}.")
    if isinstance(value, str) and kind == list[str] and value not in (*NULLS, "~"):
        value = [value]  # one word stands for a list of one
    if isinstance(value, list) and get_origin(kind) is list:
        return [typed(f"{name}[{i}]", item, *get_args(kind)) for i, item in enumerate(value)]
    if isinstance(value, Plain):
        return None if value in (*NULLS, "~") else DOTTED.sub(r"\1\2", value)
    return value


def unquoted(name: str, text: str) -> str:
    """Returns text as typed on the command line, without YAML's quotes if they enclose the whole.

    Raises:
        InputError: the quoted text is not YAML, or starts as a tag.
    """
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return as_text(parsed(name, text)) if quoted or text.startswith("!") else str(text)


def parsed(name: str, text: str) -> Any:
    """Parses an override as YAML."""
    try:
        return parse_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        shown = text if len(text) < 200 else f"{text[:200]} …"
        raise InputError(f"cannot read {name}={shown}: {yaml_problem(error)}") from None


def path_of(name: str, text: str) -> str:
    try:
        return user_location(text)
    except InputError as error:
        raise InputError(f"{name}={error}") from None
    except UnicodeEncodeError:  # `~` before half a character, which quoted YAML can write
        raise InputError(f"{name}={text!r}: no path has such characters") from None


def as_text(value: Any) -> Any:
    """Turns `Plain` and `Override`, which OmegaConf does not know, into `str`; leaves the rest for it to refuse."""
    return str(value) if isinstance(value, str) else value


def number_or_text(value: Any) -> Any:
    """Reads the value of a key that takes numbers and words, such as `2` and `auto`."""
    for number in (int, float):
        try:
            return number(value)
        except (TypeError, ValueError):
            continue
    return as_text(value)


REQUIRED = "REQUIRED"  # what --help shows as the value of a key without a default
HERE = Path(__file__).parent
CONF = HERE / "conf" if (HERE / "conf").is_dir() else HERE.parent / "conf"  # of an installed package, of a checkout


@dataclass(frozen=True)
class Composed:
    """A configuration, the files it came from, and its text for config.yaml."""

    config: Config
    choices: dict[str, str]
    text: str


def compose(overrides: Sequence[str], *, complete: bool = True) -> Composed:
    """Composes the configuration of a training run.

    Args:
        overrides: `group=choice`, `experiment=name` or `a.b=value`, as on the command line.
        complete: raise an error for a key that lacks its value. If False, the value is `REQUIRED`.

    Raises:
        InputError: a key, group or choice is unknown (the message names the nearest valid one), a value is missing or
            has the wrong type, or a file cannot be read.
    """
    choices_given, values_given = _split_overrides(overrides)
    base = _read_yaml(CONF / "train.yaml")
    experiment = str(choices_given.pop("experiment", base["experiment"]))
    file = _choice_file("experiment", experiment)
    pinned = _read_yaml(file)
    defaults = pinned.pop("defaults", None) or {}
    if not isinstance(defaults, dict) or not all(isinstance(choice, str) for choice in defaults.values()):
        raise InputError(f"{file}: defaults={defaults}: expected group: choice")
    choices = {**base["defaults"], **defaults, **choices_given}
    values: dict[str, Any] = {"experiment": experiment}
    for group, choice in choices.items():
        values[group] = _read_yaml(_choice_file(group, choice))
    return _check([values, pinned, *values_given], choices, complete=complete)


def load(path: Path, overrides: Sequence[str] = ()) -> Composed:
    """Loads the configuration in a run folder, with overrides of values (not of groups).

    Raises:
        InputError: as `compose`, or the folder has no config.yaml.
    """
    kept = _read_yaml(path / "config.yaml", f"{path} is not a run folder: it has no config.yaml")
    choices_given, values_given = _split_overrides(overrides)
    if choices_given:
        name = next(iter(choices_given))
        raise InputError(
            f"{name}={choices_given[name]}: a finished run keeps its groups; override values, as {name}.key=…"
        )
    composed = _check([kept, *values_given], {})
    if values_given:
        _refuse_other_rows(_check([kept], {}).config, composed.config)
    return composed


def _refuse_other_rows(kept: Config, asked: Config) -> None:
    """Raises InputError if the splits differ from those of training: rows that trained the run would be scored."""
    was, now = ({name: value for name, value, of in _keys(c) if of.metadata.get("splits")} for c in (kept, asked))
    for name in {**was, **now}:
        if was.get(name) != now.get(name):
            raise InputError(
                f"{name}: the run was trained with {_shown(was.get(name))} and is scored on the rows that were held "
                "out then: leave it out, or train a new run"
            )


def _split_overrides(overrides: Sequence[str]) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Returns the group choices, and one layer per other value."""
    choices: dict[str, str] = {}
    layers = []
    for override in overrides:
        name, equals, value = override.partition("=")
        if not equals or not name:
            raise InputError(f"cannot read {override!r}: expected key=value (see --help)")
        if name == "experiment" or name in SCHEMAS:
            choices[name] = value
            continue
        nested: Any = Override(value)
        for part in reversed(name.split(".")):
            nested = {part: nested}
        layers.append(nested)
    return choices, layers


def run_of(overrides: Sequence[str], name: str) -> Path | None:
    """Returns the run folder that the override of this name gives, if any.

    Raises:
        InputError: the value cannot be a path.
    """
    given = [value for key, equals, value in (o.partition("=") for o in overrides) if equals and key == name]
    if not given:
        return None
    try:
        return user_run(unquoted(name, given[-1]))
    except InputError as error:
        raise InputError(f"{name}={error}") from None


def _choice_file(group: str, choice: str) -> Path:
    file = CONF / group / f"{choice}.yaml"
    known = choices_of(group)
    if choice not in known:
        raise InputError(f"{group}={choice}: no such choice{nearest(choice, known)}; choices: {', '.join(known)}")
    return file


def choices_of(group: str) -> list[str]:
    """Returns the choices of a group: its files in conf/."""
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def _read_yaml(file: Path, if_missing: str | None = None) -> dict[str, Any]:
    try:
        return read_yaml(file)
    except FileNotFoundError:
        raise InputError(if_missing or f"{file} does not exist") from None


def _check(layers: list[dict[str, Any]], choices: dict[str, str], *, complete: bool = True) -> Composed:
    """Merges the layers over the schemas' defaults; later layers win."""
    schemas = {group: _schema(group, layers) for group in SCHEMAS}
    tree: Any = OmegaConf.structured(Run)
    with open_dict(tree):
        tree.update({group: OmegaConf.structured(schema) for group, schema in schemas.items()})
    known: Any = OmegaConf.to_container(tree)
    layers = [{**typed_fields(layer, Run), **_typed_groups(layer, schemas)} for layer in layers]
    for layer in layers:
        _refuse_interpolations(layer)
        _refuse_unknown(layer, known)
    name = ""
    try:
        for name in known:
            given = [layer[name] for layer in layers if name in layer]
            tree.merge_with(*({name: value} for value in given if value or name not in schemas))
        if not complete:
            for full in OmegaConf.missing_keys(tree):
                OmegaConf.update(tree, full, REQUIRED)
        config = Config(**vars(OmegaConf.to_object(tree)))  # raises if a key lacks its value
    except MissingMandatoryValue as error:
        raise InputError(_lacking(tree, str(error.full_key))) from None
    except OmegaConfBaseException as error:
        full = str(getattr(error, "full_key", ""))  # inside a list, without the list's own key
        raise InputError(f"{full if full.split('.')[0] in known else f'{name}.{full}'}: {first_line(error)}") from None
    check_values(vars(config), Config)
    return Composed(config, choices, _as_yaml(tree))


def _lacking(tree: DictConfig, full: str) -> str:
    """Says which key lacks its value, what it is, and how to give it."""
    parent, _, name = full.rpartition(".")
    schema: Any = OmegaConf.get_type(OmegaConf.select(tree, parent))
    meaning = next(of.metadata["help"] for of in fields(schema) if of.name == name)
    items, bracket, _ = full.partition("[")
    remedy = f"{items}=[{{{name}: …}}, …]" if bracket else f"{full}=…"
    return f"{full}: a value is required: {meaning}; give {remedy}"


def _as_yaml(tree: DictConfig) -> str:
    try:
        return OmegaConf.to_yaml(tree)
    except UnicodeEncodeError:  # libyaml does not escape a path's bytes that are not UTF-8
        return yaml.safe_dump(OmegaConf.to_container(tree), sort_keys=False, allow_unicode=True)


def _typed_groups(layer: dict[str, Any], schemas: dict[str, type]) -> dict[str, Any]:
    return {g: typed_fields(layer[g], schema, f"{g}.") for g, schema in schemas.items() if g in layer}


def _schema(group: str, layers: list[dict[str, Any]]) -> type:
    """Returns the schema of a group, by the `name` in the last layer that has one."""
    schema = SCHEMAS[group]
    if isinstance(schema, type):
        return schema
    given = [layer[group] for layer in layers if isinstance(layer.get(group), dict)]
    names = [typed(f"{group}.name", values["name"], str) for values in given if "name" in values]
    name = names[-1] if names else None
    if not isinstance(name, str) or name not in schema:
        raise InputError(f"{group}.name={name}: no such name{nearest(str(name), schema)}; names: {', '.join(schema)}")
    return schema[name]


def _refuse_unknown(layer: dict[str, Any], known: dict[str, Any], prefix: str = "") -> None:
    for name, value in layer.items():
        full = f"{prefix}{name}"
        if name not in known:
            valid = list(_flat_keys(known, prefix))
            raise InputError(f"{full}: no such key{nearest(full, valid)}; see --help for all keys")
        if isinstance(known[name], dict):
            if not isinstance(value, dict | None):
                raise InputError(f"{full}={value}: this is a group of keys, set one of them: {', '.join(known[name])}")
            _refuse_unknown(value or {}, known[name], f"{full}.")
        elif isinstance(value, dict) and not isinstance(known[name], list):
            raise InputError(f"{full}: this is one value, it has no {full}.{next(iter(value), '')}")
        elif isinstance(value, dict):
            raise InputError(f"{full}.{next(iter(value), '')}: {full} is a list, give it whole: {full}=[…]")


def _flat_keys(known: dict[str, Any], prefix: str) -> Iterator[str]:
    for name, value in known.items():
        if isinstance(value, dict):
            yield from _flat_keys(value, f"{prefix}{name}.")
        yield f"{prefix}{name}"


def _refuse_interpolations(value: Any, name: str = "") -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _refuse_interpolations(inner, f"{name}.{key}".strip("."))
    elif isinstance(value, list):
        for inner in value:
            _refuse_interpolations(inner, name)
    elif isinstance(value, str) and "${" in value:
        raise InputError(f"{name}={value}: cannot read it: interpolations are not supported, write the value out")


def help_text(overrides: Sequence[str]) -> str:
    """Returns the help of train.py: groups with their choices, then every key with its value under these overrides.

    It needs no data: a key without a default, such as the caches of `experiment=images`, is shown as REQUIRED.
    """
    composed = compose(overrides, complete=False)
    choices = {"experiment": composed.config.experiment, **composed.choices}
    lines = ["groups (group=choice takes conf/group/choice.yaml; experiment= pins several at once)"]
    for group in ("experiment", *SCHEMAS):
        marked = [f"[{choice}]" if choice == choices.get(group) else choice for choice in choices_of(group)]
        lines.append(f"  {group:<12} {' '.join(marked)}")
    lines += ["", "keys (a.b=value), with their values under the choices in brackets"]
    for name, value, of in _keys(composed.config):
        lines.append(f"  {name + '=' + _shown(value):<44} {_documented(of)}")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    """Formats a value as one writes it on the command line."""
    if isinstance(value, list):
        return f"[{','.join(_shown(item) for item in value)}]"
    if is_dataclass(value):
        return str(getattr(value, "name", "…"))
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _documented(of: Field[Any]) -> str:
    """Returns the help line of a key."""
    text, choices, limits = (of.metadata[part] for part in ("help", "choices", "limits"))
    return f"{text}: {', '.join(choices)}" if choices else f"{text} ({in_words(limits)})" if limits else text


def _keys(node: Any, prefix: str = "") -> Iterator[tuple[str, Any, Field[Any]]]:
    """Yields name, value and field of every key."""
    for of in fields(node):
        name, value = f"{prefix}{of.name}", getattr(node, of.name)
        if is_dataclass(value):
            yield from _keys(value, f"{name}.")
        else:
            yield name, value, of
