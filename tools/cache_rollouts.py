"""`lfiw-cache-rollouts` from a checkout; `python tools/cache_rollouts.py --help` says more."""

import sys

from lfiw.commands.cache_rollouts import command, main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(command())
