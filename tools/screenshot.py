"""A picture of a page of lfiw, as a browser shows it: report.html of a run, or a comparison. Needs Chromium.

python tools/screenshot.py runs/digits/ID/report.html --out report.png
python tools/screenshot.py PAGE --width 400 --dark --out narrow.png
python tools/screenshot.py runs/digits/ID/report.html --width 1280 --height 1275 --out results/digits-report.png
"""

import sys
from pathlib import Path

from lfiw.cli import Parser, run_script
from lfiw.errors import InputError
from lfiw.files import write_atomically


def main(arguments: list[str]) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("page", type=Path, metavar="PAGE", help="an HTML file")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="PNG file to write")
    parser.add_argument("--width", type=int, default=1400, metavar="PIXELS", help="of the window (default: 1400)")
    parser.add_argument("--height", type=int, metavar="PIXELS", help="from the top (default: the whole page)")
    parser.add_argument("--dark", action="store_true", help="as on a dark system")
    parser.add_argument("--printed", action="store_true", help="as it is printed")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(arguments)
    from chromium import NAMES, chromium, find_chromium

    if not options.page.is_file():
        raise InputError(f"{options.page} does not exist: give report.html of a run that was evaluated")
    if options.width < 100 or (options.height is not None and options.height < 100):
        raise InputError(f"--width {options.width} and --height {options.height} must be at least 100 pixels")
    program = find_chromium()
    if program is None:
        raise InputError(f"no Chromium found ({', '.join(NAMES)}): install one, as by apt-get install chromium")
    with chromium(program) as page:
        page.look(options.width, dark=options.dark, printed=options.printed)
        page.open(options.page)
        write_atomically(options.out, page.screenshot(options.height))


if __name__ == "__main__":
    sys.exit(run_script(main))
