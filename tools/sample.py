"""`tools/resample.py` with its options written as `key=value`: generator=digits method=mh num=1000 out=cache/better."""

import re
import sys
from pathlib import Path
from runpy import run_path

from lfiw.cli import run_script


def main(arguments: list[str]) -> None:
    resample = run_path(str(Path(__file__).with_name("resample.py")))["main"]
    resample([re.sub(r"^(\w+)=", lambda key: f"--{key[1].replace('_', '-')}=", given) for given in arguments])


if __name__ == "__main__":
    sys.exit(run_script(main))
