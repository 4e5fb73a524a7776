"""Self-contained HTML pages from the templates of this package."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

TEMPLATES = Environment(
    loader=PackageLoader("lfiw"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


def render(template: str, values: Mapping[str, Any]) -> str:
    """A page, with its style in it.

    Args:
        template: name of a file in lfiw/templates.
        values: of the template's variables; each that it uses must be there.
    """
    return TEMPLATES.get_template(template).render(**values)
