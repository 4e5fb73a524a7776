"""The report and a comparison in a headless Chromium: narrow and wide, light, dark and printed."""

import contextlib
import os
import shutil

import pytest
from integration.launch import launch, module

from lfiw.errors import InputError
from tools.screenshot import blank_page, chromium

IMAGES = """[...document.images].map(
  i => ({width: i.naturalWidth, height: i.naturalHeight, shown: i.clientWidth, alt: i.alt})
)"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# elements with text of their own: colour and the first opaque background below it, as [r, g, b]
TEXTS = """(() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !element.getClientRects().length) continue;
    let below = element, background = [0, 0, 0, 0];
    while (below && (background.length > 3 && background[3] === 0)) {
      background = rgb(getComputedStyle(below).backgroundColor);
      below = below.parentElement;
    }
    const colour = rgb(getComputedStyle(element).color);
    found.push({text: element.textContent.trim().slice(0, 40), colour, background});
  }
  return found;
})()"""


@pytest.fixture(scope="module")
def browser(files):
    with contextlib.ExitStack() as stack:
        try:
            opened = stack.enter_context(chromium())
        except InputError as error:
            pytest.skip(str(error))
        yield opened


@pytest.fixture(scope="module")
def files(digits, tmp_path_factory):
    """The report of the shared run, and a comparison of it with itself under another name."""
    here = tmp_path_factory.mktemp("compared")
    shutil.copytree(digits.folder, here / "runs/digits/other", ignore=shutil.ignore_patterns("wandb", "checkpoints"))
    with contextlib.chdir(here):
        _, objects = module("evaluate.py").evaluate([f"compare={digits.folder},runs/digits/other"])
    return {"report": digits.folder / "report.html", "comparison": here / objects["page"]}


def luminance(colour):
    """Relative luminance of sRGB (WCAG 2.2)."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (value / 255 for value in colour[:3])
    ]
    return sum(share * value for share, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_the_contrast_formula():
    assert contrast([0, 0, 0], [255, 255, 255]) == pytest.approx(21)
    assert contrast([119, 119, 119], [255, 255, 255]) == pytest.approx(4.48, abs=0.005)  # as WCAG's own examples


@pytest.mark.parametrize("kind", ["report", "comparison"])
@pytest.mark.parametrize(
    ("width", "dark", "printed"),
    [(1400, False, False), (1400, True, False), (400, False, False), (400, True, False), (700, True, True)],
)
def test_a_page(browser, files, kind, width, dark, printed):
    page = blank_page(browser, width, dark=dark, printed=printed)
    messages, requested = [], []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(error.message))
    page.on("request", lambda request: requested.append(request.url))
    page.goto(files[kind].resolve().as_uri())
    assert messages == []
    assert [url for url in requested if not url.startswith("data:")] == [page.url]  # nothing but the page itself
    images = page.evaluate(IMAGES)
    assert len(images) > 5
    for image in images:
        assert min(image["width"], image["height"]) > 0, image
        assert 200 < image["shown"] <= width, image
        assert len(image["alt"]) > 15, image
    assert page.evaluate("innerWidth") == width
    assert page.evaluate(OVERFLOW) <= 0
    texts = page.evaluate(TEXTS)
    assert len(texts) > 50
    for text in texts:
        assert contrast(text["colour"], text["background"]) >= 4.5, text
    (paper,) = {tuple(t["background"]) for t in texts if t["text"].startswith(("Importance weighting",))}
    assert (luminance(paper) < 0.1) == (dark and not printed)


def test_figures_follow_the_page(browser, files):
    """The ink of an SVG figure: dark on a light page, light on a dark one, and dark again on paper."""
    script = """(async () => {
      const image = [...document.images].find(i => i.src.startsWith("data:image/svg"));
      const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
      const context = canvas.getContext("2d");
      context.drawImage(image, 0, 0);
      const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
      let brightest = 0, darkest = 255, clear = 0;
      for (let i = 0; i < data.length; i += 4) {
        if (data[i + 3] === 0) clear += 1;
        if (data[i + 3] < 255) continue;
        const grey = (data[i] + data[i + 1] + data[i + 2]) / 3;
        brightest = Math.max(brightest, grey); darkest = Math.min(darkest, grey);
      }
      return {brightest, darkest, clear: clear / (data.length / 4)};
    })()"""
    found = {}
    for dark, printed in ((False, False), (True, False), (True, True)):
        page = blank_page(browser, 1400, dark=dark, printed=printed)
        page.goto(files["report"].resolve().as_uri())
        found[dark, printed] = page.evaluate(script)
    assert all(pixels["clear"] > 0.5 for pixels in found.values())  # the page shows through
    assert found[False, False]["darkest"] < 60
    assert found[True, False]["brightest"] > 200
    assert found[True, True]["darkest"] < 60


def test_a_picture_of_it(browser, files, tmp_path):
    arguments = (files["report"], "--width", "400", "--height", "300", "--dark", "--out", "deep/shot.png")
    code, out, err = launch("tools/screenshot.py", *arguments, cwd=tmp_path)
    assert (code, err) == (0, ""), out + err
    content = (tmp_path / "deep/shot.png").read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert [int.from_bytes(content[at : at + 4]) for at in (16, 20)] == [400, 300]


def test_a_picture_without_a_browser(files, tmp_path):
    (tmp_path / "bin").mkdir()
    arguments = (files["report"], "--out", tmp_path / "shot.png")
    code, _, err = launch("tools/screenshot.py", *arguments, cwd=tmp_path, PATH=str(tmp_path / "bin"))
    assert (code, err.count("\n")) == (2, 1)
    assert "no Chromium found" in err
    code, _, err = launch("tools/screenshot.py", "none.html", "--out", "x.png", cwd=tmp_path, PATH=os.environ["PATH"])
    assert code == 2
    assert "none.html does not exist" in err
