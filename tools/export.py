"""`lfiw-export` from a checkout; `python tools/export.py --help` says more."""

import sys

from lfiw.commands.export import command, main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(command())
