"""`lfiw-resample` from a checkout; `python tools/resample.py --help` says more."""

import sys

from lfiw.commands.resample import command, main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(command())
