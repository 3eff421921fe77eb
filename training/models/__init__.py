"""One architecture a file: its config and its module, nothing else."""
