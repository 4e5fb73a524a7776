"""report.html: self-contained, complete, and safe with any name."""

import base64
import copy
import io
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pages import LIMIT, Page, check_numbers, images
from PIL import Image
from records import RECORD, read

from lfiw.evaluation.figures import Picture
from lfiw.evaluation.plots import class_proportions, image_grid
from lfiw.evaluation.report import write_report

HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}"


def grid(n: int = 3) -> Picture:
    pixels = torch.randint(256, (n, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return Picture("Highest weight", "3 images.", image_grid(pixels), "A note.")


def figure(title: str = "Share of each class") -> Picture:
    return Picture(title, "Bars.", class_proportions({"uniform": [0.9, 0.1]}, [0.5, 0.5]))


PICTURES = {"classes": [figure()], "samples": [grid()]}


def page(tmp_path: Path, record: dict[str, Any] = RECORD, **more: Any) -> Page:
    write_report(tmp_path / "report.html", read(record), **{"pictures": {"classes": [figure()]}, **more})
    return Page(tmp_path / "report.html")


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


def test_weightings_without_scores_are_named(tmp_path: Path) -> None:
    made = page(tmp_path, record={**RECORD, "left_out": ["self-normalised <b>"]})
    assert "self-normalised <b> is not in the table: one row carries all of its weight" in made.text


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


def test_numbers_of_a_page(tmp_path: Path) -> None:
    check_numbers(page(tmp_path), RECORD)
