"""Fit gradient members: the loop, one framework a file, checkpoints, processes."""
