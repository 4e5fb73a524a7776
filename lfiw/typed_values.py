"""A value of the configuration, read by the type of its key: text is what was typed, whatever YAML would make of it."""

import re
from dataclasses import Field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

import yaml

from lfiw.errors import InputError
from lfiw.files import Plain, parse_yaml, user_location, yaml_problem

NULLS = ("null", "Null", "NULL", "")
DOTTED = re.compile(r"([+-]?)\.(inf|nan)", re.IGNORECASE)  # YAML's infinity, which Python writes without a dot


class Override(str):
    """A value as it was typed on the command line."""


def typed_fields(values: Any, schema: type, prefix: str = "") -> Any:
    """A dictionary whose values are read by the types of a schema's keys; keys that it does not know stay as they are.

    Raises:
        InputError: a value that cannot be read, a path that cannot be one.
    """
    if not isinstance(values, dict):
        return typed(prefix.rstrip("."), values, schema)
    known = {f.name: f for f in fields(schema)}
    return {
        str(name): typed(f"{prefix}{name}", value, known[name].type, known[name]) if name in known else as_text(value)
        for name, value in values.items()
    }


def typed(name: str, value: Any, kind: Any, of: Field[Any] | None = None) -> Any:
    """A value of one type.

    Text is taken as it stands, in lists and in the dictionaries of a schema too; quotes around the whole are YAML's.
    `null` is none where the type allows that, in files `~` too. What is to be a number or a truth value is left as text
    to OmegaConf, which reads it as Python does.

    Args:
        name: of the key, for messages.
        of: the key.
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
    if isinstance(value, list) and get_origin(kind) is list:
        return [typed(f"{name}[{i}]", item, *get_args(kind)) for i, item in enumerate(value)]
    if isinstance(value, Plain):
        return None if value in (*NULLS, "~") else DOTTED.sub(r"\1\2", value)
    return value


def unquoted(name: str, text: str) -> str:
    """Text as it was typed on the command line, without YAML's quotes if they are around the whole.

    Raises:
        InputError: what is in quotes is not YAML, or it begins as a tag does.
    """
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return as_text(parsed(name, text)) if quoted or text.startswith("!") else str(text)


def parsed(name: str, text: str) -> Any:
    """An override as YAML."""
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
    """No `Plain` or `Override`, which OmegaConf does not know; what is no text is for it to refuse."""
    return str(value) if isinstance(value, str) else value


def number_or_text(value: Any) -> Any:
    """`2` and `auto`, of a key that takes both."""
    for number in (int, float):
        try:
            return number(value)
        except (TypeError, ValueError):
            continue
    return as_text(value)
