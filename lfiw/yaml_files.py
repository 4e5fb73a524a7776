"""YAML as data: no tags that make objects, no aliases, which a few lines can multiply to billions of values."""

from pathlib import Path
from typing import Any

import yaml

from lfiw.errors import InputError, first_line


class PlainLoader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(
                None, None, "aliases (*name) are not supported, write the value out", mark
            )
        return super().compose_node(parent, index)


def yaml_problem(error: BaseException) -> str:
    """What is wrong, and in which line; PyYAML's own text begins with what it was doing."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
        return f"{error.problem}, line {error.problem_mark.line + 1}"
    return first_line(error)


def read_yaml(file: Path) -> dict[str, Any]:
    """A file of keys and values; empty: none.

    Raises:
        FileNotFoundError: it does not exist.
        InputError: it cannot be read, holds something else, or more than plain values.
    """
    try:
        content = yaml.load(file.read_text(), PlainLoader)
    except FileNotFoundError:
        raise
    # ValueError: no text, or a number or date that is none
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"cannot read {file}: {yaml_problem(error)}") from None
    if not isinstance(content, dict | None):
        raise InputError(f"{file}: expected keys and values, found {type(content).__name__}")
    return {str(name): value for name, value in (content or {}).items()}
