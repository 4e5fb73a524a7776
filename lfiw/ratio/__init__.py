"""Left of the hand-over: what turns real and generated samples into one log-ratio per row."""
