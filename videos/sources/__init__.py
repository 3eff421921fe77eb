"""Readers of video records, one source per file."""
