"""YAML as data: no tags that make objects, no aliases, which a few lines can multiply to billions of values.

Scalars stay the text that was written: what `0123`, `no` or `12:30` means is for the type of their key to say.
"""

from pathlib import Path
from typing import Any, ClassVar

import yaml

from lfiw.errors import InputError, first_line


class Plain(str):
    """A scalar that was written without quotes: text, unless its key is of another type."""


class PlainLoader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases, and without guesses at what a scalar without quotes is."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]

    def construct_yaml_str(self, node: yaml.ScalarNode) -> str:
        text = str(self.construct_scalar(node))
        return Plain(text) if node.style is None else text

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(
                None, None, "aliases (*name) are not supported, write the value out", mark
            )
        return super().compose_node(parent, index)


PlainLoader.add_constructor("tag:yaml.org,2002:str", PlainLoader.construct_yaml_str)


def parse_yaml(text: str) -> Any:
    """Lists, dictionaries and texts; those without quotes are `Plain`.

    Raises:
        yaml.YAMLError, ValueError, RecursionError: the text is not YAML, or more than plain values.
    """
    return yaml.load(text, PlainLoader)


def yaml_problem(error: BaseException) -> str:
    """What is wrong, and in which line; PyYAML's own text begins with what it was doing."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
        return f"{error.problem}, line {error.problem_mark.line + 1}"
    return first_line(error)


def read_yaml(file: Path) -> dict[str, Any]:
    """A file of keys and values, as `parse_yaml` has them; empty: none.

    Raises:
        FileNotFoundError: it does not exist.
        InputError: it cannot be read, holds something else, or more than plain values.
    """
    try:
        content = parse_yaml(file.read_text())
    except FileNotFoundError:
        raise
    # ValueError: no text
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"cannot read {file}: {yaml_problem(error)}") from None
    if not isinstance(content, dict | None):
        raise InputError(f"{file}: expected keys and values, found {type(content).__name__}")
    return {str(name): value for name, value in (content or {}).items()}
