#!/usr/bin/env python
"""`lfiw-train` from a checkout; `python train.py --help` says more."""

import sys

from lfiw.commands.train import command, main, train

__all__ = ["main", "train"]

if __name__ == "__main__":
    sys.exit(command())
