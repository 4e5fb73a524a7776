"""`lfiw-sample` from a checkout; `python tools/sample.py --help` says more."""

import sys

from lfiw.commands.sample import command, main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(command())
