"""Speed against the peers: one file a benchmark, each with `run(rounds)` that returns rows."""
