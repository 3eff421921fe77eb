"""Ranked lists: one file format a module, segment ids as integer codes, reading and writing."""
