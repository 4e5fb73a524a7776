"""What users run: `lfiw-score`, and `python tools/score.py` from a checkout, is `lfiw.commands.score.command`."""
