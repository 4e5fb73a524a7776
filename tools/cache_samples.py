"""`lfiw-cache-samples` from a checkout; `python tools/cache_samples.py --help` says more."""

import sys

from lfiw.commands.cache_samples import command, main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(command())
