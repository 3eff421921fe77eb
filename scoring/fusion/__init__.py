"""Weighted reciprocal-rank fusion, here or on other workers."""
