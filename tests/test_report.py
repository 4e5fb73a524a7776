"""report.html: self-contained, and safe with any name."""

import base64
import copy
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from test_tables import RECORD

from lfiw.report import write_report

HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}"
PNG = b"\x89PNG picture"


class Page(HTMLParser):
    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page(tmp_path: Path, record: dict[str, Any], pictures: dict[str, Path] | None = None) -> Page:
    write_report(tmp_path / "report.html", record, pictures or {})
    return Page(tmp_path / "report.html")


def test_self_contained(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(PNG)
    made = page(tmp_path, RECORD, {"Weights": tmp_path / "x.png"})
    text = (tmp_path / "report.html").read_text()
    assert not re.search(r"https?:|//[a-z]", re.sub(r"base64,[^\"]*", "", text))
    assert "url(" not in text
    assert "@import" not in text
    assert not [tag for tag, _ in made.tags if tag in ("script", "link", "iframe", "object", "embed")]
    (image,) = [attributes for tag, attributes in made.tags if tag == "img"]
    assert base64.b64decode(str(image["src"]).removeprefix("data:image/png;base64,")) == PNG
    assert image["alt"] == "Weights"


def test_what_it_says(tmp_path: Path) -> None:
    made = page(tmp_path, RECORD)
    for text in ("20,000 generated samples against 1,000 real ones", "★ half: because", "above 0.70",
                 "half ★", "distance to real", "paper's official code", "lfiw 9.9", "Features: pixels"):  # fmt: skip
        assert text in made.text, text
    assert [a for tag, a in made.tags if tag == "tr" and a.get("class") == "recommended"]


def test_hostile_names_are_text(tmp_path: Path) -> None:
    record = copy.deepcopy(RECORD)
    record["experiment"] = record["reason"] = record["version"] = record["recommended"] = HOSTILE
    record["extractors"] = [{"name": HOSTILE, "sha256": ""}]
    record["weightings"][2]["name"] = HOSTILE
    for w in record["weightings"]:
        w["metrics"] = {f"fid@{HOSTILE}": w["metrics"]["fid"]}
    (tmp_path / "x.png").write_bytes(PNG)
    made = page(tmp_path, record, {HOSTILE: tmp_path / "x.png"})
    assert not [tag for tag, _ in made.tags if tag == "script"]
    assert [attributes["alt"] for tag, attributes in made.tags if tag == "img"] == [HOSTILE]
    assert made.text.count(HOSTILE) >= 8  # word for word, wherever it is shown


def test_without_classes_and_paper_scores(tmp_path: Path) -> None:
    record = copy.deepcopy(RECORD)
    record["real_class_proportions"] = []
    for w in record["weightings"]:
        del w["metrics"]["fid_paper"]
    made = page(tmp_path, record)
    assert "Class proportions" not in made.text
    assert "official code" not in made.text


def test_a_record_that_lacks_something_leaves_no_page(tmp_path: Path) -> None:
    record = {name: value for name, value in RECORD.items() if name != "reason"}
    with pytest.raises(KeyError, match="reason"):
        write_report(tmp_path / "report.html", record, {})
    assert not list(tmp_path.iterdir())
