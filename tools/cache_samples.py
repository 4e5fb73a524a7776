"""Put a generator's samples into a cache.

python tools/cache_samples.py npz samples.npz --out cache/mine
python tools/cache_samples.py folder samples/ --out cache/mine
"""

import argparse
import sys

from lfiw.cli import run_script
from lfiw.data.importers.commands import add_file_commands, write_cache


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="SOURCE")
    add_file_commands(commands)
    write_cache(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(run_script(main))
