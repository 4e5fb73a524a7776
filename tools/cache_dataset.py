"""`lfiw-cache-dataset` from a checkout; `python tools/cache_dataset.py --help` says more."""

import sys

from lfiw.commands.cache_dataset import command, main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(command())
