"""`lfiw-cache-features` from a checkout; `python tools/cache_features.py --help` says more."""

import sys

from lfiw.commands.cache_features import command, main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(command())
