"""One training run: metrics, baselines, the loop that yields a record per epoch, checkpoints."""
