"""`lfiw-train-policy` from a checkout; `python tools/train_policy.py --help` says more."""

import sys

from lfiw.commands.train_policy import command, main, train

__all__ = ["main", "train"]

if __name__ == "__main__":
    sys.exit(command())
