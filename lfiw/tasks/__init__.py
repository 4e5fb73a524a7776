"""What a run does: one file a task, each with `run(config, run_dir, loggers) -> (metrics, objects)`."""
