"""`lfiw-score` from a checkout; `python tools/score.py --help` says more."""

import sys

from lfiw.commands.score import command, main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(command())
