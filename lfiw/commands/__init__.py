"""The commands: `lfiw-score`, or `python tools/score.py` in a checkout, runs `lfiw.commands.score.command`."""
