#!/usr/bin/env python
"""`lfiw-evaluate` from a checkout; `python evaluate.py --help` says more."""

import sys

from lfiw.commands.evaluate import command, evaluate, main

__all__ = ["evaluate", "main"]

if __name__ == "__main__":
    sys.exit(command())
