"""Speed against the peers, a file a subject: functions `run_…(rounds)` that return rows."""
