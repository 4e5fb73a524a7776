"""The documentation: sphinx-build -W docs build/site (pip install -e '.[docs]')."""

import importlib
import re
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent.parent))

import lfiw

project = "lfiw"
author = "the lfiw authors"
version = release = lfiw.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_theme_options = {"top_of_page_buttons": []}
html_title = f"lfiw {release}"
html_static_path = ["static"]
html_css_files = ["tables.css"]
html_show_sphinx = html_show_copyright = html_copy_source = False
myst_heading_anchors = 3
autodoc_default_options = {"special-members": "__call__"}
autodoc_inherit_docstrings = False  # Lightning's are in a dialect of their own
autodoc_member_order = "bysource"
default_role = "code"

for package in ("lfiw", "lfiw.data"):  # names that are imported when first used: autodoc looks at what is there
    module = importlib.import_module(package)
    for name in module.__all__:
        vars(module)[name] = getattr(module, name)


def as_restructured_text(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Escapes what our docstrings mean literally: |x|, a*b, log_ratio_, and `d.`, which is no item of a list."""
    for i, line in enumerate(lines):
        literal = re.sub(r"(?<!`)([|*]|(?<=\w)_(?!\w))", r"\\\1", line)
        lines[i] = re.sub(r"^(\s+\w+: )(\w\.)$", r"\1\\\2", literal)


def skip_routing(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Leaves out what scikit-learn adds to every estimator for metadata routing."""
    return True if name.endswith(("_request", "_routing")) else None


def style_results(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Keeps numbers with their errors on one line; such tables scroll."""
    if page.startswith("results/"):
        app.add_css_file("results.css")


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", as_restructured_text, priority=400)  # before napoleon
    app.connect("autodoc-skip-member", skip_routing)
    app.connect("html-page-context", style_results)
