"""Ranked lists: reading, scoring (MAP@K), fusing, and the search for fusion weights."""
