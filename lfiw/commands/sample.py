"""`tools/resample.py` with its options written as `key=value`: generator=digits method=mh num=1000 out=cache/better."""

import re
from functools import partial

from lfiw.cli import run_script
from lfiw.commands import resample


def main(arguments: list[str]) -> None:
    resample.main([re.sub(r"^(\w+)=", lambda key: f"--{key[1].replace('_', '-')}=", given) for given in arguments])


command = partial(run_script, main)
