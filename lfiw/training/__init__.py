"""Lightning, once: trainer, checkpoints, stopping, processes, tracking, run folders."""
