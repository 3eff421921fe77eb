"""The commands of `python -m scoring`, one verb a file."""
