"""The commands of `python -m tracking`, one per file."""
