"""report.html: self-contained, complete, and safe with any name."""

import base64
import copy
import io
import itertools
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from test_tables import RECORD, read

from lfiw.evaluation.figures import Picture
from lfiw.evaluation.plots import class_proportions, image_grid
from lfiw.evaluation.report import write_report

HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}"
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


def grid(n: int = 3) -> Picture:
    pixels = torch.randint(256, (n, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return Picture("Highest weight", "3 images.", image_grid(pixels), "A note.")


def figure(title: str = "Share of each class") -> Picture:
    return Picture(title, "Bars.", class_proportions({"uniform": [0.9, 0.1]}, [0.5, 0.5]))


PICTURES = {"classes": [figure()], "samples": [grid()]}


def page(tmp_path: Path, record: dict[str, Any] = RECORD, **more: Any) -> Page:
    write_report(tmp_path / "report.html", read(record), **{"pictures": {"classes": [figure()]}, **more})
    return Page(tmp_path / "report.html")


def images(made: Page) -> list[dict[str, str | None]]:
    return [attributes for tag, attributes in made.tags if tag == "img"]


def test_self_contained(tmp_path: Path) -> None:
    made = page(tmp_path, pictures=PICTURES)
    text = re.sub(r"base64,[^\"]*", "", (tmp_path / "report.html").read_text())
    assert not re.search(r"https?:|//[a-z]", text)
    assert "url(" not in text
    assert "@import" not in text
    assert not [tag for tag, _ in made.tags if tag in ("script", "iframe", "object", "embed")]
    assert [attributes["href"] for tag, attributes in made.tags if tag == "link"] == ["data:,"]
    drawn, pixels = images(made)[::-1]
    assert base64.b64decode(str(drawn["src"]).removeprefix("data:image/svg+xml;base64,")).startswith(b"<svg")
    kept = Image.open(io.BytesIO(base64.b64decode(str(pixels["src"]).removeprefix("data:image/png;base64,"))))
    np.testing.assert_array_equal(np.array(kept), grid().content)
    assert (pixels["alt"], drawn["alt"]) == ("3 images.", "Bars.")


def test_what_it_says(tmp_path: Path) -> None:
    made = page(
        tmp_path,
        pictures=PICTURES,
        seconds={"training": 12.34},
        configuration="seed: 0\n",
    )
    for text in ("20,000 generated samples against 1,000 real ones", "Weighting “half”, as asked for: corrects.",
                 "Because.", "above 0.70", "half ★", "distance to real", "paper's official code", "lfiw 9.9",
                 "Features: pixels",
                 "2,500 rows, SHA-256 " + "ab" * 32, "12.3", "seed: 0", "run first"):  # fmt: skip
        assert text in made.text, text
    assert made.text.index("as asked for") < made.text.index("Scores of every weighting")
    assert [a for tag, a in made.tags if tag == "tr" and a.get("class") == "marked"]


def test_markup(tmp_path: Path) -> None:
    """What assistive technology goes by: one language, headings in order, captions and scopes."""
    made = page(tmp_path, pictures=PICTURES, seconds={"training": 1.0})
    assert made.open == []
    assert ("html", {"lang": "en"}) in made.tags
    levels = [int(tag[1]) for tag, _ in made.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    tags = [tag for tag, _ in made.tags]
    assert tags.count("caption") == tags.count("table") == len(made.tables) >= 6
    assert {a.get("scope") for tag, a in made.tags if tag == "th"} == {"col", "row"}
    targets = {f"#{a['id']}" for _, a in made.tags if "id" in a}
    assert {a["href"] for tag, a in made.tags if tag == "a"} <= targets
    assert all(a["alt"] for a in images(made))


def test_the_largest_page(tmp_path: Path) -> None:
    """Six grids of noise, which cannot be compressed, of the least favourable size."""
    for side in (32, 49):
        noise = torch.randint(256, (64, 3, side, side), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
        grids = [Picture(str(i), "Noise.", image_grid(noise)) for i in range(6)]
        page(tmp_path, pictures={"samples": grids})
        size = (tmp_path / "report.html").stat().st_size
        assert size < LIMIT - 15 * 40_000  # which leaves room for the figures of a run


def test_hostile_names_are_text(tmp_path: Path) -> None:
    record = copy.deepcopy(RECORD)
    record["experiment"] = record["reason"] = record["version"] = record["recommended"] = record["run"] = HOSTILE
    record["extractors"] = [{"name": HOSTILE, "sha256": ""}]
    record["weightings"][2]["name"] = HOSTILE
    record["tables"][0]["name"] = HOSTILE
    for w in record["weightings"]:
        w["metrics"] = {f"fid@{HOSTILE}": w["metrics"]["fid"]}
    picture = Picture(HOSTILE, HOSTILE, figure().content)
    made = page(tmp_path, record, pictures={"classes": [picture]}, configuration=HOSTILE)
    assert not [tag for tag, _ in made.tags if tag == "script"]
    assert [attributes["alt"] for attributes in images(made)] == [HOSTILE]
    assert made.text.count(HOSTILE) >= 10  # word for word, wherever it is shown


def test_without_classes_paper_scores_and_images(tmp_path: Path) -> None:
    record = copy.deepcopy(RECORD)
    record["real_class_proportions"] = []
    del record["flattening"]
    for w in record["weightings"]:
        w["class_proportions"] = []
        del w["metrics"]["fid_paper"]
    made = page(tmp_path, record, pictures={})
    for text in ("Class proportions", "official code", "Samples", "plain ratio", "Seconds"):
        assert text not in made.text
    assert not images(made)


def shown_as(text: str, value: float, digits: int) -> bool:
    """Whether a printed number is a value rounded to so many significant digits."""
    if value == 0:
        return float(text) == 0
    place = 10.0 ** (math.floor(math.log10(abs(value))) - digits + 1)
    return (
        abs(float(text.replace(",", "")) - value) <= 0.5 * min(place, 1 if abs(value) >= 10**digits else place) * 1.0001
    )


def test_numbers_of_a_page(tmp_path: Path) -> None:
    check_numbers(page(tmp_path), RECORD)


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
