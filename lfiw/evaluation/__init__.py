"""Right of the hand-over: what turns rows, a log-ratio column and features into scores."""
