"""A column name becomes a folder."""

import pytest

from lfiw import InputError
from lfiw.data.cache.manifest import check_column_name


@pytest.mark.parametrize("name", ["image", "features/pixels", "log_ratio/run-1@2026.11=a+b", "a/b/c", "_x", "-x"])
def test_allowed(name):
    assert check_column_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "/etc",
        "a/",
        "a//b",
        "..",
        "a/../b",
        ".",
        "./a",
        ".hidden",
        "a b",
        "a\\b",
        "a\nb",
        "é",
        "a/manifest.json",
        "00000-00000.safetensors",
        "__metadata__",
        "a" * 201,
        "a\0",
    ],
)
def test_refused(name):
    with pytest.raises(InputError, match="cannot name a column"):
        check_column_name(name)
