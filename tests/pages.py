"""report.html and compare.html as tests read them."""

import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

VOID = {"meta", "link", "img", "br", "hr", "input"}
LIMIT = 3_000_000  # bytes


class Page(HTMLParser):
    """Tags, all text, and the tables as caption → titles and rows."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._caption = ""
        self._rows: list[list[str]] = []
        self.feed(file.read_text())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._caption, self._rows = "", []
        if tag == "tr":
            self._rows.append([])
        if tag in ("th", "td"):
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> does not close what is open"
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        self.text += data
        if "caption" in self.open:
            self._caption += data
        if "td" in self.open or "th" in self.open:
            self._rows[-1][-1] += data


def images(made: Page) -> list[dict[str, str | None]]:
    return [attributes for tag, attributes in made.tags if tag == "img"]


def shown_as(text: str, value: float, digits: int) -> bool:
    """Whether a printed number is a value rounded to so many significant digits."""
    if value == 0:
        return float(text) == 0
    place = 10.0 ** (math.floor(math.log10(abs(value))) - digits + 1)
    return (
        abs(float(text.replace(",", "")) - value) <= 0.5 * min(place, 1 if abs(value) >= 10**digits else place) * 1.0001
    )


def check_numbers(made: Page, record: dict[str, Any]) -> None:
    """Every score of every weighting, its interval and the ESS are those of evaluation.json, to the digits shown."""
    names = {"FID ↓": "fid", "KID ↓": "kid", "IS ↑": "is", "class distance ↓": "class_distance"}
    (table,) = [rows for caption, rows in made.tables.items() if caption.startswith("Scores with 95 % intervals")]
    titles, shown = table[0], {row[0].removesuffix(" ★"): row for row in table[1:]}
    compared = 0
    for w in record["weightings"]:
        row = shown[w["name"]]
        assert shown_as(row[titles.index("ESS")], w["ess"], 4)
        for title, cell in zip(titles[4:], row[4:], strict=True):
            kind, _, extractor = title.partition(" @")
            score = w["metrics"][names[kind] + (f"@{extractor}" if extractor else "")]
            value, *ends = re.findall(r"-?[\d.,]+(?:e-?\d+)?(?=[ ,\]\[]|$)", cell.replace(", ", " "))
            assert shown_as(value, score["value"], 4), (w["name"], title, cell, score["value"])
            width = score["half_width"]
            expected = [] if width is None else [score["value"] - width, score["value"] + width]
            assert len(ends) == len(expected)
            assert all(shown_as(text, end, 3) for text, end in zip(ends, expected, strict=True)), (cell, expected)
            compared += 1
    assert compared >= len(record["weightings"])
