"""A picture of a page of lfiw, as a browser shows it: report.html of a run, or a comparison.

Needs Chromium, and Playwright to drive it: pip install -e '.[screenshot]'

python tools/screenshot.py runs/digits/ID/report.html --out report.png
python tools/screenshot.py PAGE --width 400 --dark --out narrow.png
python tools/screenshot.py runs/digits/ID/report.html --width 1280 --height 1275 --out results/digits-report.png
"""

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lfiw.cli import Parser, run_script
from lfiw.errors import InputError
from lfiw.files import write_atomically

if TYPE_CHECKING:
    from playwright.sync_api import Browser, FloatRect, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


@contextlib.contextmanager
def chromium() -> Iterator["Browser"]:
    """The machine's own Chromium, without a window, until the end of the block.

    Raises:
        InputError: it is not installed, or Playwright is not.
    """
    program = next((path for name in NAMES if (path := shutil.which(name))), None)
    if program is None:
        raise InputError(f"no Chromium found ({', '.join(NAMES)}): install one, as by apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise InputError("Playwright is not installed: pip install -e '.[screenshot]'") from None
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=program, args=FLAGS) as browser:
        yield browser


def blank_page(browser: "Browser", width: int, *, dark: bool = False, printed: bool = False) -> "Page":
    """A tab of a width in pixels, on a light or dark system, on screen or as it is printed."""
    page = browser.new_page(viewport={"width": width, "height": 900}, is_mobile=width < 600)
    page.emulate_media(media="print" if printed else "screen", color_scheme="dark" if dark else "light")
    return page


def main(arguments: list[str]) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("page", type=Path, metavar="PAGE", help="an HTML file")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="PNG file to write")
    parser.add_argument("--width", type=int, default=1400, metavar="PIXELS", help="of the window (default: 1400)")
    parser.add_argument("--height", type=int, metavar="PIXELS", help="from the top (default: the whole page)")
    parser.add_argument("--dark", action="store_true", help="as on a dark system")
    parser.add_argument("--printed", action="store_true", help="as it is printed")
    options = parser.parse_args(arguments)
    if not options.page.is_file():
        raise InputError(f"{options.page} does not exist: give report.html of a run that was evaluated")
    if options.width < 100 or (options.height is not None and options.height < 100):
        raise InputError(f"--width {options.width} and --height {options.height} must be at least 100 pixels")
    with chromium() as browser:
        page = blank_page(browser, options.width, dark=options.dark, printed=options.printed)
        page.goto(options.page.resolve().as_uri())
        height = options.height or page.evaluate("document.documentElement.scrollHeight")
        part: FloatRect = {"x": 0, "y": 0, "width": options.width, "height": height}
        write_atomically(options.out, page.screenshot(full_page=True, clip=part))


if __name__ == "__main__":
    sys.exit(run_script(main))
